"""RMSNorm and rotary embedding of queries and keys, in one pass over the data each way.

Axes: b sample, l token, d channel of the whole projected width, h head, c channel of one head.
"""

from __future__ import annotations

import torch

from kernels.aligned_rope.operator import norm_rotate_op
from kernels.aligned_rope.reference import norm_rotate_reference, rms_norm
from kernels.aligned_rope.rotation import Rotation, rotation_from_angles
from kernels.dispatch import Request, choose

__all__ = ["Rotation", "norm_rotate", "rms_norm", "rotation_from_angles"]


def norm_rotate(
    x_bld: torch.Tensor,
    weight_d: torch.Tensor,
    rotation: Rotation,
    *,
    num_heads: int,
    eps: float,
    first_token: int = 0,
    backend: Request = "auto",
) -> torch.Tensor:
    """x / rms(x) * weight over the whole width, split into heads, each turned by the angle of its token.

    Parameters
    ----------
    x_bld : projected queries or keys.
    weight_d : of the norm.
    rotation : the angles of a grid of tokens, with tables on the device of `x_bld`; they get no gradient.
    eps : added to the mean square.
    first_token : where in the grid token 0 of `x_bld` lies, for a part of a longer sequence.
    backend : see `kernels.dispatch`.

    Returns
    -------
    `[b, l, h, c]`, in the dtype of `x_bld`; computed in at least float32.

    Raises
    ------
    ValueError : if the shapes do not fit each other.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    _check(x_bld, weight_d, rotation, num_heads, first_token)
    if choose("norm_rotate", backend, x_bld.device.type, x_bld.dtype) == "reference":
        return norm_rotate_reference(x_bld, weight_d, rotation, num_heads=num_heads, eps=eps, first_token=first_token)
    y: torch.Tensor = norm_rotate_op(
        x_bld.contiguous(),
        weight_d.contiguous(),
        rotation.cos.float().contiguous(),
        rotation.sin.float().contiguous(),
        rotation.grid,
        rotation.split,
        rotation.layout == "interleaved",
        num_heads,
        first_token,
        eps,
    )
    return y


def _check(x_bld: torch.Tensor, weight_d: torch.Tensor, rotation: Rotation, num_heads: int, first_token: int) -> None:
    if x_bld.ndim != 3:
        raise ValueError(f"x has {x_bld.ndim} axes, expected 3: sample, token, channel")
    _, length, width = x_bld.shape
    if weight_d.shape != (width,):
        raise ValueError(f"the weight is {tuple(weight_d.shape)} and x {width} wide; expected ({width},)")
    if width != num_heads * 2 * sum(rotation.split):
        raise ValueError(
            f"x is {width} wide, and {num_heads} heads of {sum(rotation.split)} turning pairs each are "
            f"{num_heads * 2 * sum(rotation.split)}; expected them equal"
        )
    if not 0 <= first_token <= rotation.num_tokens - length:
        raise ValueError(
            f"tokens {first_token} to {first_token + length} of a grid {rotation.grid} of {rotation.num_tokens} "
            "tokens; expected them inside"
        )
