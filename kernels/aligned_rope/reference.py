"""RMSNorm and rotation in plain PyTorch: what the kernels are held to, and what runs where they do not."""

from __future__ import annotations

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
    """As `kernels.aligned_rope.norm_rotate`; statistics and rotation in at least float32."""
    wide = torch.promote_types(x_bld.dtype, torch.float32)
    x = x_bld.to(wide)
    normed = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight_d.to(wide)
    heads = normed.view(*normed.shape[:2], num_heads, -1)
    cos, sin = (table.to(wide)[:, None] for table in spread(rotation, first_token, x_bld.shape[1]))
    if rotation.layout == "halves":
        first, second = heads.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    else:
        first, second = heads.view(*heads.shape[:3], -1, 2).unbind(-1)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
    return turned.to(x_bld.dtype)


def rotate_halves(x_blhd: torch.Tensor, cos_ld: torch.Tensor, sin_ld: torch.Tensor) -> torch.Tensor:
    """x * cos + swap(x) * sin, where swap moves the second half, negated, before the first."""
    first, second = x_blhd.chunk(2, dim=-1)
    swapped = torch.cat((-second, first), dim=-1)
    return (x_blhd * cos_ld[:, None] + swapped * sin_ld[:, None]).to(x_blhd.dtype)
