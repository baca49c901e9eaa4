"""Adaptive layer norm and gated residual in plain PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional


def modulated_norm_reference(
    x_bld: torch.Tensor, shift_bld: torch.Tensor, scale_bld: torch.Tensor, eps: float
) -> torch.Tensor:
    """As `kernels.adaln.modulated_norm`; the norm in at least float32, the modulation in x's dtype."""
    shared = shift_bld.shape[:2] == scale_bld.shape[:2] == (1, 1)
    if shared and x_bld.dtype == scale_bld.dtype == shift_bld.dtype and x_bld.dtype in (torch.float32, torch.float64):
        # One modulation for all is the norm's own weight and bias: one pass over x instead of three.
        return functional.layer_norm(x_bld, x_bld.shape[-1:], 1 + scale_bld.flatten(), shift_bld.flatten(), eps)
    wide = x_bld.to(torch.promote_types(x_bld.dtype, torch.float32))
    normed = functional.layer_norm(wide, x_bld.shape[-1:], None, None, eps).to(x_bld.dtype)
    return torch.addcmul(shift_bld, normed, 1 + scale_bld).to(x_bld.dtype)


def gated_residual_reference(x_bld: torch.Tensor, branch_bld: torch.Tensor, gate_bld: torch.Tensor) -> torch.Tensor:
    """As `kernels.adaln.gated_residual`."""
    return torch.addcmul(x_bld, branch_bld, gate_bld).to(torch.promote_types(x_bld.dtype, branch_bld.dtype))
