"""Cross-attention between the towers: few keys against many queries, or many against few.

Axes: b sample, q query token, k key token, h head, d channel of one head.
"""

from __future__ import annotations

import torch

from kernels.bridge_attention.reference import attend
from kernels.dispatch import Request, choose

__all__ = ["bridge_attention"]


def bridge_attention(
    q_bqhd: torch.Tensor, k_bkhd: torch.Tensor, v_bkhd: torch.Tensor, backend: Request
) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v for every head, without a mask.

    Parameters
    ----------
    q_bqhd, k_bkhd, v_bkhd : projected and rotated queries, keys and values.
    backend : see `kernels.dispatch`.

    Returns
    -------
    `[b, q, h, d]`, in the dtype of `v_bkhd`.

    Raises
    ------
    ValueError : if the shapes do not fit each other.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    fits = k_bkhd.shape == v_bkhd.shape and q_bqhd.shape[0] == k_bkhd.shape[0] and q_bqhd.shape[2:] == k_bkhd.shape[2:]
    if not fits:
        raise ValueError(
            f"queries {tuple(q_bqhd.shape)}, keys {tuple(k_bkhd.shape)}, values {tuple(v_bkhd.shape)}; expected equal "
            "keys and values, and queries that differ from them only in the number of tokens"
        )
    choose("bridge_attention", backend, q_bqhd.device.type)
    return attend(q_bqhd, k_bkhd, v_bkhd)
