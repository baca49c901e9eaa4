"""Many small weights as a few flat tensors, so that ZeRO-3 has a few parameters to keep books on instead of hundreds.

A module is called with views into the flat tensors in place of its own parameters; gradients flow back into the flat
tensors. Measured on the nano model (411 weights, one process, batch 8): 697 ms a step with ZeRO-3 on the weights,
119 ms on flat tensors, 127 ms in a plain loop without ZeRO.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from mova_core.training.partition import Slot, Unit


class FlatModule(nn.Module):
    """Calls a module whose parameters lie in flat ones.

    Parameters
    ----------
    module : called with views of the flat parameters; its own are replaced by empty ones.
    names : which weights of `module` go together in one flat parameter; a weight in none of them stays as it is.

    Attributes
    ----------
    flat : the flat parameters, in the order of `names`.
    units : what lies in each of them.
    """

    def __init__(self, module: nn.Module, names: Mapping[str, list[str]]) -> None:
        super().__init__()
        weights = dict(module.named_parameters())
        self.units = {
            key: Unit(tuple(Slot(name, tuple(weights[name].shape)) for name in members))
            for key, members in names.items()
        }
        self.flat = nn.ParameterList(
            nn.Parameter(unit.join({name: weights[name].detach() for name in names[key]}))
            for key, unit in self.units.items()
        )
        for members in names.values():
            for name in members:
                _forget(module, name)
        self._called = (module,)  # in a tuple, so that its modules are not this one's

    def forward(self, *inputs: Any) -> Any:
        """As the module's own forward."""
        views: dict[str, torch.Tensor] = {}
        for unit, flat in zip(self.units.values(), self.flat, strict=True):
            views.update(unit.split(flat))
        return functional_call(self._called[0], views, inputs, tie_weights=False)  # looking for ties took 5 ms


def _forget(module: nn.Module, name: str) -> None:
    """Frees a weight's memory but keeps its shape, so that a use of it by mistake fails at once."""
    owner, _, attribute = name.rpartition(".")
    holder = module.get_submodule(owner)
    shape = getattr(holder, attribute).shape
    setattr(holder, attribute, nn.Parameter(torch.empty(shape, device="meta")))
