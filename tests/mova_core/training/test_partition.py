from __future__ import annotations

import pytest
import torch

from mova_core.training.partition import Layout, Slot, Unit

FLAT = Layout((Unit((Slot("a", (3, 4)), Slot("b", (5,)))), Unit((Slot("c", (2, 2)),))))


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {slot.name: torch.randn(slot.shape, generator=generator) for unit in FLAT.units for slot in unit.slots}


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_cutting_and_assembling_are_inverse(world: int) -> None:
    shards = FLAT.cut(weights(), world)
    assert shards.shape == (world, FLAT.shard_numel(world))
    back = FLAT.assemble(shards)
    assert all(torch.equal(back[name], value) for name, value in weights().items())


def test_parts_are_laid_out_as_zero_3_does() -> None:
    """Each unit apart: ceil(n / world) elements a process, zeros at the end of the last."""
    shards = FLAT.cut(weights(), 2)
    first = torch.cat((weights()["a"].flatten(), weights()["b"], torch.zeros(1))).view(2, 9)
    second = weights()["c"].flatten().view(2, 2)
    assert torch.equal(shards, torch.cat((first, second), dim=1))


def test_a_unit_smaller_than_the_world_leaves_empty_parts() -> None:
    layout = Layout((Unit((Slot("tiny", (2,)),)),))
    assert layout.cut({"tiny": torch.ones(2)}, 3).tolist() == [[1.0], [1.0], [0.0]]


def test_layouts_are_told_apart() -> None:
    other = Layout((Unit((Slot("a", (4, 3)), Slot("b", (5,)))), FLAT.units[1]))
    assert FLAT.describe() != other.describe()
