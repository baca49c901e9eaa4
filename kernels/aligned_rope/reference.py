"""Aligned RoPE in plain PyTorch."""

from __future__ import annotations

import torch


def rotate_halves(x_blhd: torch.Tensor, cos_ld: torch.Tensor, sin_ld: torch.Tensor) -> torch.Tensor:
    """x * cos + swap(x) * sin, where swap moves the second half, negated, before the first."""
    first, second = x_blhd.chunk(2, dim=-1)
    swapped = torch.cat((-second, first), dim=-1)
    return (x_blhd * cos_ld[:, None] + swapped * sin_ld[:, None]).to(x_blhd.dtype)
