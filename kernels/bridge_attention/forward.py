"""Forward pass: queries stream past keys, one tile of queries a program at a time; the keys may be cut in parts.

Many queries, few keys (audio to video): one part; a program takes tile after tile of queries, and the keys of a head
stay in L2 for all of them. Few queries, many keys (video to audio): the keys are cut in parts so that all
multiprocessors have work; each part writes its output and log-sum-exp in float32, and `merge.py` joins them in a fixed
order. Nothing is added atomically, so results repeat to the bit.

Every block of keys is masked, though only the last needs it: a loop of its own for the last doubles the code, and costs
more registers (they spill on compute capability 8.0, and for float32 everywhere) than it saves comparisons.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.bridge_attention.tiles import (
    LN_2,
    LOG2_E,
    add_product,
    length_of,
    load_halves,
    load_rows,
    part_of,
    store_rows,
    valid_keys,
)


@triton.jit
def forward_kernel(
    q, k, v, q_inverse_rms, q_weight, q_cos, q_sin, k_inverse_rms, k_weight, k_cos, k_sin,
    key_mask, key_lengths, query_lengths, residual, scale, out, attended, lse,
    num_samples, num_queries, num_keys, num_parts,
    q_tokens_per_row, q_first_token, k_tokens_per_row, k_first_token, softmax_scale,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """out = residual + scale * softmax(q k softmax_scale) v, and the log-sum-exp of the scores.

    out : `[part, sample, query, head, channel]`; lse : float32 `[part, sample, head, query]`.
    attended : as `out`, before scale and residual, for the backward pass; None where it is not kept.
    q_..., k_... : see `load_halves`; None for queries and keys that come normed and rotated.
    residual, scale : as `out` and one number; None for none. Only with one part.
    """
    WIDTH: tl.constexpr = HEADS * HEAD_DIM
    query_tiles = tl.cdiv(num_queries, BLOCK_Q)
    num_tiles = query_tiles * num_parts * num_samples * HEADS
    rows = tl.arange(0, BLOCK_Q)
    for index in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        tile = index + tl.zeros((), tl.int32)
        # Neighbouring tiles share their keys, which the programs of one wave then find in L2.
        query = (tile % query_tiles) * BLOCK_Q
        part = tile // query_tiles % num_parts
        head = tile // query_tiles // num_parts % HEADS
        sample = (tile // query_tiles // num_parts // HEADS).to(tl.int64)
        counted = query + rows < length_of(query_lengths, sample, num_queries)
        q_base = q + (sample * num_queries + query) * WIDTH + head * HEAD_DIM
        k_base = k + sample * num_keys * WIDTH + head * HEAD_DIM
        v_base = v + sample * num_keys * WIDTH + head * HEAD_DIM
        q_rms = None if q_inverse_rms is None else q_inverse_rms + sample * num_queries
        q_gain = None if q_weight is None else q_weight + head * HEAD_DIM
        k_rms = None if k_inverse_rms is None else k_inverse_rms + sample * num_keys
        k_gain = None if k_weight is None else k_weight + head * HEAD_DIM
        mask = None if key_mask is None else key_mask + sample * num_keys
        q_low, q_high = load_halves(
            q_base, rows, counted, query, q_rms, q_gain, q_cos, q_sin, q_tokens_per_row, q_first_token,
            WIDTH, HEAD_DIM // 2, BLOCK_HALF,
        )  # fmt: skip
        first, last = part_of(part, num_parts, length_of(key_lengths, sample, num_keys), BLOCK_K)
        row_max = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
        row_sum = tl.zeros((BLOCK_Q,), tl.float32)
        total = tl.zeros((BLOCK_Q, BLOCK_DIM), tl.float32)
        for key in range(first, last, BLOCK_K):
            total, row_max, row_sum = _attend(
                total, row_max, row_sum, q_low, q_high, k_base, v_base, key, last,
                k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token, mask, softmax_scale,
                WIDTH, HEAD_DIM, BLOCK_DIM, BLOCK_HALF, BLOCK_K,
            )  # fmt: skip
        counted = counted & (row_sum > 0)
        row_sum = tl.where(counted, row_sum, 1.0)
        total = tl.where(counted[:, None], total / row_sum[:, None], 0.0)
        inside = query + rows < num_queries
        whole_lse = tl.where(counted, (row_max + tl.log2(row_sum)) * LN_2, float("-inf"))
        tl.store(lse + ((part * num_samples + sample) * HEADS + head) * num_queries + query + rows, whole_lse, inside)
        skipped = ((part * num_samples + sample) * num_queries + query) * WIDTH + head * HEAD_DIM
        store_output(
            out, attended, residual, scale, skipped, rows, inside, total, WIDTH, HEAD_DIM, BLOCK_DIM
        )  # fmt: skip


@triton.jit
def store_output(
    out, attended, residual, scale, skipped, rows, inside, total,
    WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Scale and residual on the way out; what came before them goes to `attended`. `skipped` leads to the tile."""
    if attended is not None:
        store_rows(attended + skipped, rows, inside, total, WIDTH, HEAD_DIM, BLOCK_DIM)
    if scale is not None:
        total *= tl.load(scale).to(tl.float32)
    if residual is not None:
        total += load_rows(residual + skipped, rows, inside, WIDTH, HEAD_DIM, BLOCK_DIM).to(tl.float32)
    store_rows(out + skipped, rows, inside, total, WIDTH, HEAD_DIM, BLOCK_DIM)


@triton.jit
def _attend(
    total, row_max, row_sum, q_low, q_high, k_base, v_base, key, last,
    k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token, mask, softmax_scale,
    WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One block of keys: the running maximum, sum and weighted values after it (online softmax, in powers of 2)."""
    rows = tl.arange(0, BLOCK_K)
    valid = valid_keys(mask, key, rows, last)
    skipped = key * tl.full((), WIDTH, tl.int64)
    k_low, k_high = load_halves(
        k_base + skipped, rows, valid, key, k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token,
        WIDTH, HEAD_DIM // 2, BLOCK_HALF,
    )  # fmt: skip
    scores = add_product(q_low, tl.trans(k_low), tl.zeros((q_low.shape[0], BLOCK_K), tl.float32))
    scores = add_product(q_high, tl.trans(k_high), scores) * (softmax_scale * LOG2_E)
    scores = tl.where(valid[None, :], scores, float("-inf"))
    new_max = tl.maximum(row_max, tl.max(scores, axis=1))
    # A row that has met no key yet has no maximum to subtract: -inf - -inf is not a number.
    subtracted = tl.where(new_max == float("-inf"), 0.0, new_max)
    weights = tl.exp2(scores - subtracted[:, None])
    kept = tl.exp2(row_max - subtracted)
    values = load_rows(v_base + skipped, rows, valid, WIDTH, HEAD_DIM, BLOCK_DIM)
    total = add_product(weights.to(values.dtype), values, total * kept[:, None])
    return total, new_max, row_sum * kept + tl.sum(weights, axis=1)
