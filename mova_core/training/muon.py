"""The optimizer: Muon for the matrices of blocks and Bridge, AdamW for the rest, both on ZeRO-3's shards.

Muon follows the momentum of a matrix after its singular values have all been brought near one (Jordan et al. 2024).
Here the momentum stays partitioned, as ZeRO-3 has it; once a step the shards are gathered, every process orthogonalises
its share of the matrices, batched over equal shapes, and receives its own part of the result.

DeepSpeed 0.19.8 carries a Muon of its own, which does not serve here: it clips the norm of the orthogonalised update
instead of the gradient's, moves parameters without a gradient in this step (the idle expert) along their old momentum,
and orthogonalises one matrix at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from mova_core.training.partition import Layout, all_shards, own_sum

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al. 2024): singular values end within about 0.7 to 1.2."""
MUON_STEP = 0.2
"""Root mean square of a Muon step over its learning rate; AdamW's usual value, so that one rate suits both (Liu et al.
2025, "Muon is scalable for LLM training", equation 4)."""
TINY = 1e-7


class MuonAdamW(torch.optim.Optimizer):
    """Muon and AdamW over ZeRO-3 shards.

    Every group holds `rule` ("muon" or "adamw"), `lr`, `weight_decay` (decoupled) and `active`: a group that is not
    active is left alone entirely, its weights, its moments and its step count. Before the first step, `layouts` must
    map each shard of a Muon group to its `Layout`.

    Parameters
    ----------
    groups : parameter groups with the entries above.
    momentum, newton_schulz_steps : Muon's.
    betas, eps : AdamW's.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        momentum: float,
        newton_schulz_steps: int,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        super().__init__(groups, {"active": True})
        self.momentum = momentum
        self.newton_schulz_steps = newton_schulz_steps
        self.betas = betas
        self.eps = eps
        self.layouts: dict[torch.Tensor, Layout] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closures here
        """One step of every active group. Collective where a group follows Muon."""
        assert closure is None, "ZeRO-3 gives no closure"
        for group in self.param_groups:
            if not group["active"]:
                continue
            for shard in group["params"]:
                assert shard.grad is not None, "ZeRO-3 gives every shard a gradient"
                rule = self._muon if group["rule"] == "muon" else self._adamw
                update = rule(shard, shard.grad)
                shard.mul_(1 - group["lr"] * group["weight_decay"])
                shard.add_(update, alpha=-group["lr"])

    def _muon(self, shard: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        state = self.state[shard]
        if not state:
            state["momentum"] = torch.zeros_like(shard)
        state["momentum"].lerp_(gradient, 1 - self.momentum)
        nesterov = gradient.lerp(state["momentum"], self.momentum)
        return orthogonalised(nesterov, self.layouts[shard], self.newton_schulz_steps)

    def _adamw(self, shard: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        state = self.state[shard]
        if not state:
            state["mean"] = torch.zeros_like(shard)
            state["square"] = torch.zeros_like(shard)
            state["steps"] = torch.zeros((), dtype=torch.float64)
        state["steps"] += 1
        steps, (decay_mean, decay_square) = state["steps"].item(), self.betas
        state["mean"].lerp_(gradient, 1 - decay_mean)
        state["square"].mul_(decay_square).addcmul_(gradient, gradient, value=1 - decay_square)
        root = state["square"].sqrt().div_(math.sqrt(1 - decay_square**steps)).add_(self.eps)
        update: torch.Tensor = state["mean"].div(1 - decay_mean**steps).div_(root)
        return update


def orthogonalised(shard: torch.Tensor, layout: Layout, steps: int) -> torch.Tensor:
    """This process's shard of the update, from its shard of the momentum. Collective.

    Matrices of one shape (or its transpose) go through Newton-Schulz together, each process taking every
    world-th of them. A matrix `[rows, columns]` is scaled so that its entries' root mean square is `MUON_STEP`.
    """
    shards = all_shards(shard)
    world, rank = shards.shape[0], torch.distributed.get_rank()
    matrices = layout.assemble(shards)
    results = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()} if world > 1 else dict(matrices)
    for names in _by_shape(matrices).values():
        own = names[rank::world]
        if not own:
            continue
        batch = torch.stack([_wide(matrices[name]) for name in own])
        factors = newton_schulz(batch, steps) * (MUON_STEP * math.sqrt(batch.shape[-1]))
        for name, factor in zip(own, factors, strict=True):
            results[name] = factor if factor.shape == matrices[name].shape else factor.mT
    return own_sum(layout.cut(results, world))


def newton_schulz(batch: torch.Tensor, steps: int) -> torch.Tensor:
    """Brings the singular values of each matrix of `[n, rows, columns]`, rows <= columns, near one.

    A matrix of zeros stays zeros. On a GPU the products are taken in bfloat16, which the iteration tolerates.
    """
    a, b, c = NEWTON_SCHULZ
    x = batch / (torch.linalg.matrix_norm(batch, keepdim=True) + TINY)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: torch.Tensor = x.to(batch.dtype)
    return result


def _by_shape(matrices: dict[str, torch.Tensor]) -> dict[tuple[int, ...], list[str]]:
    names: dict[tuple[int, ...], list[str]] = {}
    for name, matrix in matrices.items():
        names.setdefault(tuple(_wide(matrix).shape), []).append(name)
    return names


def _wide(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
