from __future__ import annotations

import pytest
import torch
from torch import nn

from mova_core.training.flat import FlatModule


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))


def test_flat_and_plain_agree_in_output_and_gradient() -> None:
    plain, flat = network(), FlatModule(network(), {"matrices": ["0.weight", "2.weight"], "rest": ["0.bias", "2.bias"]})
    inputs = torch.randn(5, 3)
    for module in (plain, flat):
        module(inputs).square().sum().backward()
    assert torch.equal(flat(inputs), plain(inputs))
    matrices, rest = (parameter.grad for parameter in flat.flat)
    weights = dict(plain.named_parameters())
    for unit, gradient in zip(flat.units.values(), (matrices, rest), strict=True):
        assert gradient is not None
        for name, piece in unit.split(gradient).items():
            assert torch.equal(piece, weights[name].grad)


def test_a_weight_left_out_stays_where_it_was() -> None:
    plain = network()
    flat = FlatModule(plain, {"only": ["0.weight"]})
    flat(torch.randn(5, 3)).sum().backward()
    assert len(list(flat.parameters())) == 1
    assert plain[2].weight.grad is not None


def test_weights_without_a_part_in_the_call_get_no_gradient() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    flat = FlatModule(Half(), {"used": ["used.weight", "used.bias"], "unused": ["unused.weight", "unused.bias"]})
    flat(torch.ones(1, 2)).sum().backward()
    assert flat.flat[0].grad is not None
    assert flat.flat[1].grad is None


def test_a_flattened_weight_cannot_be_used_by_mistake() -> None:
    plain = network()
    FlatModule(plain, {"all": [name for name, _ in plain.named_parameters()]})
    assert plain[0].weight.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        plain(torch.randn(5, 3)).tolist()
