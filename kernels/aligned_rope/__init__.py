"""Rotation of queries and keys by a position on the clock that both modalities share.

Axes: b sample, l token, h head, d channel of one head.
"""

from __future__ import annotations

import torch

from kernels.aligned_rope.reference import rotate_halves
from kernels.dispatch import Request, choose

__all__ = ["aligned_rope"]


def aligned_rope(x_blhd: torch.Tensor, cos_ld: torch.Tensor, sin_ld: torch.Tensor, backend: Request) -> torch.Tensor:
    """Rotates channel i of each head against channel i + d/2 by the angle of its token.

    Parameters
    ----------
    x_blhd : queries or keys.
    cos_ld, sin_ld : tables of cosines and sines, the same for both halves of a head.
    backend : see `kernels.dispatch`.

    Returns
    -------
    The rotated tensor, shape and dtype of `x_blhd`.

    Raises
    ------
    ValueError : if the tables do not fit `x_blhd`.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    _, length, _, head_dim = x_blhd.shape
    if head_dim % 2 or cos_ld.shape != (length, head_dim) or sin_ld.shape != (length, head_dim):
        raise ValueError(
            f"tables of {tuple(cos_ld.shape)} and {tuple(sin_ld.shape)} for {length} tokens of head_dim {head_dim}, "
            "expected both as (tokens, head_dim) with an even head_dim"
        )
    choose("aligned_rope", backend, x_blhd.device.type)
    return rotate_halves(x_blhd, cos_ld, sin_ld)
