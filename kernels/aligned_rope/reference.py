"""RMSNorm and rotation in PyTorch: what the kernels are held to, and what runs where they do not.

Twice: eager PyTorch gets few passes over memory and a gradient of its own, a compiler the formula as it is written.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.aligned_rope.rotation import Rotation, spread


def norm_rotate_reference(
    x_bld: torch.Tensor,
    weight_d: torch.Tensor,
    rotation: Rotation,
    *,
    num_heads: int,
    eps: float,
    first_token: int = 0,
) -> torch.Tensor:
    """As `kernels.aligned_rope.norm_rotate`; statistics and rotation in at least float32, both results in x's dtype."""
    batch, length, _ = x_bld.shape
    tokens = slice(first_token, first_token + length)
    heads = rms_norm(x_bld, weight_d, eps).view(batch, length, num_heads, -1)
    compiling = torch.compiler.is_compiling()
    if rotation.layout == "interleaved" and not compiling:
        return rotate_interleaved(heads, rotation.unit_by_token[tokens])
    cos, sin = (table[tokens, None] for table in (spread(rotation) if compiling else rotation.by_token))
    if rotation.layout == "halves":
        first, second = heads.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    else:
        first, second = heads.view(*heads.shape[:3], -1, 2).unbind(-1)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
    return turned.to(x_bld.dtype)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / rms(x) * weight over the last axis; the statistics in at least float32, the result in x's dtype."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    weight = weight.to(wide.dtype)
    if torch.compiler.is_compiling():
        normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps) * weight
    elif torch.is_grad_enabled():
        normed = _RmsNorm.apply(wide, weight, eps)  # type: ignore[no-untyped-call]  # untyped in PyTorch
    else:
        normed = (wide * _inverse_rms(wide, eps)).mul_(weight)
    return normed.to(x.dtype)


def _inverse_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse_rms: torch.Tensor = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return inverse_rms


def rotate_interleaved(x_blhc: torch.Tensor, unit_lp: torch.Tensor) -> torch.Tensor:
    """Turns channels (2i, 2i + 1) of each head by a complex unit number for each token, in that number's precision."""
    real = torch.float64 if unit_lp.dtype == torch.complex128 else torch.float32
    pairs = torch.view_as_complex(x_blhc.to(real).reshape(*x_blhc.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * unit_lp[:, None]).flatten(-2).to(x_blhc.dtype)


class _RmsNorm(torch.autograd.Function):
    """RMS norm with its gradient written out: the composite that PyTorch differentiates takes three times as long."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        inverse_rms = _inverse_rms(x, eps)
        normed = x * inverse_rms
        ctx.save_for_backward(normed, inverse_rms, weight)
        return normed * weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        normed, inverse_rms, weight = ctx.saved_tensors
        dim = normed.shape[-1]
        product = grad * normed
        weight_grad = product.reshape(-1, dim).sum(dim=0)
        along = torch.mv(product.reshape(-1, dim), weight).div_(-dim).view(inverse_rms.shape)
        return torch.addcmul(grad * weight, normed, along).mul_(inverse_rms), weight_grad, None
