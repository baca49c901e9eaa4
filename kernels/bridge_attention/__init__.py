"""Cross-attention between the towers: few keys against many queries, or many against few.

Axes: p part of the keys, b sample, q query token, k key token, h head, d channel of one head, w channel of all heads.
"""

from __future__ import annotations

import torch

from kernels.bridge_attention.checks import check_ends, check_heads, check_padding
from kernels.bridge_attention.normed_operator import Normed, normed_bridge_attention
from kernels.bridge_attention.operator import bridge_attention_op, graded, one_number
from kernels.bridge_attention.reference import attend, attend_in_strips, merge_parts
from kernels.dispatch import Request, choose

__all__ = ["Normed", "bridge_attention", "bridge_attention_part", "merge_parts", "normed_bridge_attention"]


def bridge_attention(
    q_bqhd: torch.Tensor,
    k_bkhd: torch.Tensor,
    v_bkhd: torch.Tensor,
    backend: Request,
    *,
    key_mask_bk: torch.Tensor | None = None,
    key_lengths_b: torch.Tensor | None = None,
    query_lengths_b: torch.Tensor | None = None,
    scale: float | torch.Tensor | None = None,
    residual_bqhd: torch.Tensor | None = None,
) -> torch.Tensor:
    """residual + scale * softmax(q k / sqrt(d)) v for every head.

    Parameters
    ----------
    q_bqhd, k_bkhd, v_bkhd : projected and rotated queries, keys and values.
    backend : see `kernels.dispatch`.
    key_mask_bk : bool; keys where it is False do not count, whatever they hold. None: all count.
    key_lengths_b, query_lengths_b : how many tokens of each sample count, int; what lies behind is not read.
    scale : one number on the attention, a tensor if it learns; None stands for 1.
    residual_bqhd : added to the scaled attention; None for nothing.

    Returns
    -------
    `[b, q, h, d]`, in the dtype of `v_bkhd`. Queries that do not count, or find no key, get the residual, or 0.

    Raises
    ------
    ValueError : if the shapes do not fit each other.
    KernelUnavailable : if `backend` is "triton" and cannot run.
    """
    check_heads(q_bqhd, k_bkhd, v_bkhd)
    check_padding(q_bqhd, k_bkhd, key_mask_bk, key_lengths_b, query_lengths_b)
    check_ends(q_bqhd, scale, residual_bqhd)
    padding = (key_mask_bk, key_lengths_b, query_lengths_b)
    if choose("bridge_attention", backend, q_bqhd.device.type, q_bqhd.dtype) == "triton":
        return _run(q_bqhd, k_bkhd, v_bkhd, padding, scale, residual_bqhd, float32_output=False)[0]
    if all(given is None for given in padding):
        attended = attend(q_bqhd, k_bkhd, v_bkhd)
    else:
        attended = attend_in_strips(
            q_bqhd, k_bkhd, v_bkhd, key_mask_bk=key_mask_bk, key_lengths_b=key_lengths_b,
            query_lengths_b=query_lengths_b,
        )[0].to(v_bkhd.dtype)  # fmt: skip
    if scale is not None:
        attended = attended * scale
    return (attended if residual_bqhd is None else residual_bqhd + attended).to(v_bkhd.dtype)


def bridge_attention_part(
    q_bqhd: torch.Tensor,
    k_bkhd: torch.Tensor,
    v_bkhd: torch.Tensor,
    backend: Request,
    *,
    key_mask_bk: torch.Tensor | None = None,
    key_lengths_b: torch.Tensor | None = None,
    query_lengths_b: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over a part of the keys, as `merge_parts` takes it; both results have gradients.

    Parameters and errors are those of `bridge_attention`.

    Returns
    -------
    (output `[b, q, h, d]`, log-sum-exp of the scaled scores `[b, h, q]`), both in at least float32. Queries without a
    key in this part have 0 and -inf.
    """
    check_heads(q_bqhd, k_bkhd, v_bkhd)
    check_padding(q_bqhd, k_bkhd, key_mask_bk, key_lengths_b, query_lengths_b)
    padding = (key_mask_bk, key_lengths_b, query_lengths_b)
    if choose("bridge_attention", backend, q_bqhd.device.type, q_bqhd.dtype) == "triton":
        return _run(q_bqhd, k_bkhd, v_bkhd, padding, None, None, float32_output=True)
    return attend_in_strips(
        q_bqhd, k_bkhd, v_bkhd, key_mask_bk=key_mask_bk, key_lengths_b=key_lengths_b, query_lengths_b=query_lengths_b
    )


def _run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    padding: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    scale: float | torch.Tensor | None,
    residual: torch.Tensor | None,
    *,
    float32_output: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    mask, key_lengths, query_lengths = padding
    factor = one_number(scale, q.device)
    kept = graded(q, k, v, factor) and not (factor is None and residual is None)
    out, lse, *_ = bridge_attention_op(
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        None if mask is None else mask.contiguous(),
        None if key_lengths is None else key_lengths.to(torch.int32),
        None if query_lengths is None else query_lengths.to(torch.int32),
        None if residual is None else residual.contiguous(),
        factor,
        *(None,) * 6,
        [],
        [],
        0.0,
        float32_output,
        kept,
    )
    return out, lse
