"""Layers that both towers and the Bridge are made of.

`Linear` and `RMSNorm` keep PyTorch's parameter names. Products may run in another precision than the parameters are
stored in (`set_compute_dtype`); norms, rotations and time embeddings always run in at least float32.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from kernels.aligned_rope import rms_norm


class Linear(nn.Linear):
    """A linear layer whose product runs in `compute_dtype`, or in the parameters' dtype when that is None."""

    compute_dtype: torch.dtype | None = None

    def reset_parameters(self) -> None:
        """PyTorch's, except for weights that are yet to be given storage, where drawing takes time and does nothing."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = self.compute_dtype or self.weight.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return functional.linear(x.to(dtype), self.weight.to(dtype), bias)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis; the statistics in at least float32, the result in x's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight, self.eps)


class LayerNorm(nn.LayerNorm):
    """PyTorch's, with the statistics in at least float32 and the result in x's dtype."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = at_least_float32(x)
        weight = None if self.weight is None else self.weight.to(wide.dtype)
        bias = None if self.bias is None else self.bias.to(wide.dtype)
        return functional.layer_norm(wide, self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class TimeEmbedding(nn.Sequential):
    """Linear, SiLU, Linear on the sinusoid of a timestep, in at least float32 whatever the model's dtype."""

    def __init__(self, freq_dim: int, dim: int) -> None:
        super().__init__(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, sinusoid: torch.Tensor) -> torch.Tensor:
        first, _, second = self
        return wide_linear(functional.silu(wide_linear(sinusoid, first)), second)


class TimeProjection(nn.Sequential):
    """SiLU, Linear from the time embedding to a layer's modulations, in at least float32."""

    def __init__(self, dim: int, num_modulations: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(dim, num_modulations * dim))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return wide_linear(functional.silu(embedding), self[1])


def wide_linear(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """Applies an `nn.Linear` in at least float32, leaving its stored parameters as they are."""
    assert isinstance(layer, nn.Linear)
    wide = torch.promote_types(layer.weight.dtype, torch.float32)
    return functional.linear(x.to(wide), layer.weight.to(wide), layer.bias.to(wide))


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """`x`, widened to float32 if it is narrower."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def wide_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype in which `x` is normed and rotated: its own, float32 if that is narrower."""
    return torch.promote_types(x.dtype, torch.float32)


def sinusoid(timestep: torch.Tensor, dim: int) -> torch.Tensor:
    """Cosines then sines of `timestep` (0..1000) at dim/2 frequencies from 1 towards 1/10000; float64 `[b, dim]`."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
    angles = timestep.to(torch.float64)[:, None] * torch.exp(-math.log(10000.0) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x * (1 + scale) + shift."""
    return torch.addcmul(shift, x, 1 + scale)


def set_compute_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Makes every `Linear` of `model` multiply in `dtype`; None stands for the parameters' own."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.compute_dtype = dtype
