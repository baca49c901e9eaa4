"""Attention in plain PyTorch: PyTorch's own fused one, and one that shows every step in at least float32.

Axes: p part of the keys, b sample, q query token, k key token, h head, d channel of one head.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

SCORES_AT_ONCE = 2**24
"""Scores held at a time: 64 MB in float32, however long the sequences."""


def attend(q_bqhd: torch.Tensor, k_bkhd: torch.Tensor, v_bkhd: torch.Tensor) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v by PyTorch's fused attention; `[b, q, h, d]`."""
    q_bhqd, k_bhkd, v_bhkd = (x.transpose(1, 2) for x in (q_bqhd, k_bkhd, v_bkhd))
    return functional.scaled_dot_product_attention(q_bhqd, k_bhkd, v_bhkd).transpose(1, 2)


def attend_in_strips(
    q_bqhd: torch.Tensor,
    k_bkhd: torch.Tensor,
    v_bkhd: torch.Tensor,
    *,
    key_mask_bk: torch.Tensor | None = None,
    key_lengths_b: torch.Tensor | None = None,
    query_lengths_b: torch.Tensor | None = None,
    scores_at_once: int = SCORES_AT_ONCE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(q k / sqrt(d)) v and the log-sum-exp of the scores, a strip of queries at a time.

    The full score matrix is never built, nor kept for the gradient: a strip is computed again in the backward pass.
    Queries without a key, or beyond their length, get 0 and -inf.

    Parameters
    ----------
    key_mask_bk : bool, False for keys that do not count, whatever they hold.
    key_lengths_b, query_lengths_b : tokens of each sample that count; None for all.

    Returns
    -------
    (output `[b, q, h, d]`, log-sum-exp `[b, h, q]`), both in at least float32.
    """
    samples, queries, heads, head_dim = q_bqhd.shape
    keys = k_bkhd.shape[1]
    wide = torch.promote_types(q_bqhd.dtype, torch.float32)
    counts_bk = _counted(key_lengths_b, samples, keys, q_bqhd.device)
    if key_mask_bk is not None:
        counts_bk = counts_bk & key_mask_bk
    asks_bq = _counted(query_lengths_b, samples, queries, q_bqhd.device)
    k_bhdk = k_bkhd.to(wide).masked_fill(~counts_bk[:, :, None, None], 0).permute(0, 2, 3, 1)
    v_bhkd = v_bkhd.to(wide).masked_fill(~counts_bk[:, :, None, None], 0).transpose(1, 2)
    q_bhqd = q_bqhd.to(wide).masked_fill(~asks_bq[:, :, None, None], 0).transpose(1, 2) / math.sqrt(head_dim)
    size = max(1, scores_at_once // max(1, samples * heads * keys))
    strips = [
        checkpoint(_strip, q_bhqd[:, :, at : at + size], k_bhdk, v_bhkd, counts_bk, use_reentrant=False)
        for at in range(0, queries, size)
    ]
    out = torch.cat([out for out, _ in strips], dim=2).transpose(1, 2)
    lse = torch.cat([lse for _, lse in strips], dim=2)
    silent = ~asks_bq
    return out.masked_fill(silent[:, :, None, None], 0), lse.masked_fill(silent[:, None], float("-inf"))


def _strip(
    q_bhqd: torch.Tensor, k_bhdk: torch.Tensor, v_bhkd: torch.Tensor, counts_bk: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = (q_bhqd @ k_bhdk).masked_fill(~counts_bk[:, None, None], float("-inf"))
    highest = scores.amax(dim=-1, keepdim=True).detach()
    weights = (scores - torch.where(highest.isfinite(), highest, 0)).exp()
    total = weights.sum(dim=-1, keepdim=True)
    empty = total == 0
    total = total.masked_fill(empty, 1)
    lse = (total.log() + highest).masked_fill(empty, float("-inf"))
    return weights @ v_bhkd / total, lse[..., 0]


def _counted(lengths_b: torch.Tensor | None, samples: int, tokens: int, device: torch.device) -> torch.Tensor:
    if lengths_b is None:
        return torch.ones(samples, tokens, dtype=torch.bool, device=device)
    return torch.arange(tokens, device=device) < lengths_b[:, None]


def merge_parts(outs_pbqhd: torch.Tensor, lses_pbhq: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention over all keys from that over parts of them, for example one part a process of a ring.

    With lse = log sum_p exp(lse_p), the whole is sum_p exp(lse_p - lse) out_p: exact, whoever computed the parts. A
    part without keys has lse = -inf and weighs nothing. Differentiable in both arguments. Parts that are to merge
    without loss must be float32, as `bridge_attention_part` returns them.

    Parameters
    ----------
    outs_pbqhd : outputs of the parts.
    lses_pbhq : log-sum-exp of the scores of the parts.

    Returns
    -------
    (output `[b, q, h, d]` in the dtype of the parts, log-sum-exp `[b, h, q]`).

    Raises
    ------
    ValueError : if the two do not name the same parts.
    """
    parts, samples, queries, heads, _ = outs_pbqhd.shape
    if lses_pbhq.shape != (parts, samples, heads, queries):
        raise ValueError(
            f"log-sum-exp of shape {tuple(lses_pbhq.shape)} for outputs {tuple(outs_pbqhd.shape)}, "
            f"expected {(parts, samples, heads, queries)}"
        )
    highest = lses_pbhq.amax(dim=0).detach()
    finite = torch.where(highest.isfinite(), highest, 0)
    weights = (lses_pbhq - finite).exp()
    total = weights.sum(dim=0)
    empty = total == 0
    weights = weights / total.masked_fill(empty, 1)
    out = (weights.transpose(2, 3).unsqueeze(-1) * outs_pbqhd).sum(dim=0)
    lse = (total.masked_fill(empty, 1).log() + finite).masked_fill(empty, float("-inf"))
    return out.to(outs_pbqhd.dtype), lse
