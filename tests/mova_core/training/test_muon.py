from __future__ import annotations

import pytest
import torch

from mova_core.training.muon import MUON_STEP, MuonAdamW, newton_schulz, orthogonalised
from mova_core.training.partition import Layout, Slot, Unit

pytestmark = pytest.mark.usefixtures("process_group")

SHAPES = {"square": (6, 6), "tall": (8, 6), "wide": (6, 8), "small": (2, 3), "other_square": (6, 6)}
LAYOUT = Layout((Unit(tuple(Slot(name, shape) for name, shape in SHAPES.items())),))


def optimizer(rule: str, **settings: float) -> tuple[MuonAdamW, torch.Tensor]:
    torch.manual_seed(0)
    shard = torch.randn(LAYOUT.units[0].numel)
    group = {"params": [shard], "rule": rule, "lr": 0.1, "weight_decay": 0.0, **settings}
    made = MuonAdamW([group], momentum=0.95, newton_schulz_steps=5, betas=(0.9, 0.99), eps=1e-8)
    made.layouts = {shard: LAYOUT}
    return made, shard


def test_singular_values_end_near_one_and_directions_stay() -> None:
    torch.manual_seed(0)
    batch = torch.randn(3, 4, 7)
    result = newton_schulz(batch, 5)
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.35
    left, _, right = torch.linalg.svd(batch, full_matrices=False)
    diagonal = left.mT @ result @ right.mT
    assert torch.allclose(diagonal, torch.diag_embed(diagonal.diagonal(dim1=1, dim2=2)), atol=1e-4)


def test_a_zero_matrix_stays_zero() -> None:
    assert newton_schulz(torch.zeros(1, 3, 3), 5).count_nonzero() == 0


def test_every_matrix_is_orthogonalised_by_itself_and_steps_alike() -> None:
    torch.manual_seed(0)
    momentum = {name: torch.randn(shape) * 10.0**index for index, (name, shape) in enumerate(SHAPES.items())}
    update = LAYOUT.assemble(orthogonalised(LAYOUT.units[0].join(momentum)[None].squeeze(0), LAYOUT, 5)[None])
    for name, matrix in momentum.items():
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        expected = newton_schulz(wide[None], 5)[0] * MUON_STEP * wide.shape[1] ** 0.5
        expected = expected if expected.shape == matrix.shape else expected.mT
        assert torch.allclose(update[name], expected, atol=1e-6)
        assert update[name].square().mean().sqrt().item() == pytest.approx(MUON_STEP, rel=0.35)


def test_muon_follows_nesterov_momentum_down_hill() -> None:
    made, shard = optimizer("muon")
    before = shard.clone()
    shard.grad = before.clone()
    made.step()
    update = orthogonalised(before, LAYOUT, 5)  # of one step: any positive multiple of the gradient
    assert torch.allclose(shard, before - 0.1 * update, atol=1e-5)
    assert torch.allclose(made.state[shard]["momentum"], 0.05 * before)


def test_the_other_rule_is_adamw() -> None:
    made, shard = optimizer("adamw", weight_decay=0.1)
    reference = shard.clone().requires_grad_()
    known = torch.optim.AdamW([reference], lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for seed in range(5):
        gradient = torch.randn(shard.shape, generator=torch.Generator().manual_seed(seed))
        shard.grad = reference.grad = gradient
        made.step()
        known.step()
    assert torch.allclose(shard, reference, atol=1e-6)


@pytest.mark.parametrize("rule", ["muon", "adamw"])
def test_a_group_at_rest_is_left_alone_entirely(rule: str) -> None:
    made, shard = optimizer(rule, weight_decay=0.5)
    shard.grad = torch.ones_like(shard)
    made.step()
    weights, state = shard.clone(), {name: value.clone() for name, value in made.state[shard].items()}
    made.param_groups[0]["active"] = False
    made.step()
    assert torch.equal(shard, weights)
    assert all(torch.equal(made.state[shard][name], value) for name, value in state.items())
