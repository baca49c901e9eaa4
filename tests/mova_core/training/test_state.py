from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mova_core.errors import UserError
from mova_core.training.partition import Layout, Slot, Unit
from mova_core.training.state import discard_unfinished, load_state, save_state, saved_states

pytestmark = pytest.mark.usefixtures("process_group")

LAYOUTS = [Layout((Unit((Slot("a", (3,)), Slot("b", (2, 2)))),)), Layout((Unit((Slot("c", (5,)),)),))]


def state(value: float = 0.0) -> list[dict[str, torch.Tensor]]:
    steps = torch.tensor(3.0, dtype=torch.float64)
    return [
        {"weights": torch.arange(7.0) + value, "average": torch.ones(7), "momentum": torch.zeros(7)},
        {"weights": torch.arange(5.0) - value, "average": torch.ones(5), "steps": steps},
    ]


def assert_equal(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_state(tmp_path, 4, state(1.0), LAYOUTS)
    loaded = load_state(tmp_path, LAYOUTS)
    assert loaded is not None
    assert loaded[0] == 4
    assert_equal(loaded[1], state(1.0))


def test_the_newest_two_are_kept_and_the_newest_is_used(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save_state(tmp_path, step, state(float(step)), LAYOUTS)
    assert [path.name for path in saved_states(tmp_path)] == ["step_00000004", "step_00000006"]
    loaded = load_state(tmp_path, LAYOUTS)
    assert loaded is not None
    assert_equal(loaded[1], state(6.0))


def test_an_unfinished_state_is_never_used(tmp_path: Path) -> None:
    save_state(tmp_path, 2, state(2.0), LAYOUTS)
    unfinished = tmp_path / ".step_00000004"
    unfinished.mkdir()
    (unfinished / "rank_0000.safetensors").write_bytes(b"cut sho")
    loaded = load_state(tmp_path, LAYOUTS)
    assert loaded is not None
    assert loaded[0] == 2
    discard_unfinished(tmp_path)
    assert not unfinished.exists()


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "absent", LAYOUTS) is None


@pytest.mark.parametrize("processes", [2, 3])
def test_a_state_of_other_processes_is_recut(tmp_path: Path, processes: int) -> None:
    folder = tmp_path / "step_00000008"
    folder.mkdir()
    whole = state(5.0)
    shards = [
        {
            name: value if value.dim() == 0 else layout.cut(layout.assemble(value[None]), processes)
            for name, value in entries.items()
        }
        for layout, entries in zip(LAYOUTS, whole, strict=True)
    ]
    for rank in range(processes):
        save_file(
            {
                f"{index}/{name}": value if value.dim() == 0 else value[rank].contiguous()
                for index, entries in enumerate(shards)
                for name, value in entries.items()
            },
            folder / f"rank_{rank:04d}.safetensors",
        )
    meta = {"step": 8, "processes": processes, "layouts": [layout.describe() for layout in LAYOUTS]}
    (folder / "meta.json").write_text(json.dumps(meta))
    loaded = load_state(tmp_path, LAYOUTS)
    assert loaded is not None
    assert_equal(loaded[1], whole)


def test_another_layout_is_refused_with_the_remedy(tmp_path: Path) -> None:
    save_state(tmp_path, 2, state(), LAYOUTS)
    with pytest.raises(UserError, match="flat_parameters"):
        load_state(tmp_path, LAYOUTS[::-1])
