"""The time embedding's hold on a transformer block: adaptive layer norm before a branch, a gate behind it.

Axes: b sample, l token, d channel. A modulation has one row a sample, `[b or 1, 1, d]`, or a token, `[b or 1, l, d]`.
"""

from __future__ import annotations

import torch

from kernels.adaln.norm_operator import modulated_norm_op
from kernels.adaln.reference import gated_residual_reference, modulated_norm_reference
from kernels.adaln.residual_operator import gated_residual_op
from kernels.adaln.rows import check, placed
from kernels.dispatch import Request, choose

__all__ = ["gated_residual", "modulated_norm"]


def modulated_norm(
    x_bld: torch.Tensor,
    shift_bld: torch.Tensor,
    scale_bld: torch.Tensor,
    *,
    eps: float,
    backend: Request = "auto",
) -> torch.Tensor:
    """norm(x) * (1 + scale) + shift, where norm makes each token's mean 0 and variance 1.

    Parameters
    ----------
    x_bld : tokens.
    shift_bld, scale_bld : modulations; both with a row a sample or both with a row a token.
    eps : added to the variance.
    backend : see `kernels.dispatch`.

    Returns
    -------
    Shape and dtype of `x_bld`; the norm is taken in at least float32.

    Raises
    ------
    ValueError : if the shapes do not fit each other.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    check(x_bld, shift=shift_bld, scale=scale_bld)
    if shift_bld.shape[1] != scale_bld.shape[1]:
        raise ValueError(
            f"shift has {shift_bld.shape[1]} rows a sample and scale {scale_bld.shape[1]}; expected them equal"
        )
    if choose("modulated_norm", backend, x_bld.device.type, x_bld.dtype) == "reference":
        return modulated_norm_reference(x_bld, shift_bld, scale_bld, eps)
    shift, scale = placed(x_bld, shift_bld), placed(x_bld, scale_bld)
    y: torch.Tensor = modulated_norm_op(x_bld.contiguous(), shift, scale, eps)
    return y


def gated_residual(
    x_bld: torch.Tensor, branch_bld: torch.Tensor, gate_bld: torch.Tensor, *, backend: Request = "auto"
) -> torch.Tensor:
    """x + branch * gate.

    Parameters
    ----------
    x_bld, branch_bld : tokens, and what a branch made of them; their dtypes may differ.
    gate_bld : a modulation.
    backend : see `kernels.dispatch`.

    Returns
    -------
    Shape of `x_bld`, in the wider dtype of `x_bld` and `branch_bld`.

    Raises
    ------
    ValueError : if the shapes do not fit each other.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    check(x_bld, gate=gate_bld)
    if branch_bld.shape != x_bld.shape:
        raise ValueError(f"the branch is {tuple(branch_bld.shape)} and x {tuple(x_bld.shape)}; expected them equal")
    if choose("gated_residual", backend, x_bld.device.type, x_bld.dtype) == "reference":
        return gated_residual_reference(x_bld, branch_bld, gate_bld)
    y: torch.Tensor = gated_residual_op(x_bld.contiguous(), branch_bld.contiguous(), placed(x_bld, gate_bld))
    return y
