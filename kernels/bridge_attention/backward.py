"""Backward pass: the probabilities are computed again from the stored log-sum-exp, so memory stays linear.

With P = exp(scores - lse), dA = scale * dout and delta = sum_d dA A - dlse:

    dv = P' dA        dS = P * (dA v' - delta)        dq = softmax_scale dS k        dk = softmax_scale dS' q

Three kernels, none of which adds atomically: `delta_kernel` (one pass over dout and A), `query_gradient_kernel` (a tile
of queries streams past the keys) and `key_gradient_kernel` (a tile of keys streams past the queries). Where the side
that owns the tiles is short, the other is cut in parts, whose float32 gradients are added in a fixed order.
Queries and keys that were normed and rotated on load are so again; their gradients are those of the rotated ones.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.bridge_attention.tiles import (
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
def delta_kernel(
    out_gradient, attended, products, query_lengths, num_rows, num_queries,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    """products = sum_d dout A, float32 `[sample, head, query]`, 0 for queries that do not count; heads fastest."""
    start = tl.program_id(0).to(tl.int64) * BLOCK_ROWS
    rows = tl.arange(0, BLOCK_ROWS)
    inside = start + rows < num_rows
    token = (start + rows) // HEADS
    sample = token // num_queries
    counted = inside
    if query_lengths is not None:
        counted = inside & (token % num_queries < tl.load(query_lengths + sample, mask=inside, other=0))
    base = start * HEAD_DIM
    gradient = load_rows(out_gradient + base, rows, counted, HEAD_DIM, HEAD_DIM, BLOCK_DIM).to(tl.float32)
    value = load_rows(attended + base, rows, counted, HEAD_DIM, HEAD_DIM, BLOCK_DIM).to(tl.float32)
    at = (sample * HEADS + (start + rows) % HEADS) * num_queries + token % num_queries
    tl.store(products + at, tl.sum(gradient * value, axis=1), mask=inside)


@triton.jit
def query_gradient_kernel(
    q, k, v, q_inverse_rms, q_weight, q_cos, q_sin, k_inverse_rms, k_weight, k_cos, k_sin,
    key_mask, key_lengths, query_lengths, scale, out_gradient, lse, delta, q_gradient,
    num_samples, num_queries, num_keys, num_parts,
    q_tokens_per_row, q_first_token, k_tokens_per_row, k_first_token, softmax_scale,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """q_gradient `[part, sample, query, head, channel]`, of queries as they enter the scores, part by part of the keys.

    lse, delta : float32 `[sample, head, query]`; other arguments as `forward_kernel`.
    """
    WIDTH: tl.constexpr = HEADS * HEAD_DIM
    HALF: tl.constexpr = HEAD_DIM // 2
    query_tiles = tl.cdiv(num_queries, BLOCK_Q)
    num_tiles = query_tiles * num_parts * num_samples * HEADS
    rows = tl.arange(0, BLOCK_Q)
    for index in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        tile = index + tl.zeros((), tl.int32)
        query = (tile % query_tiles) * BLOCK_Q
        part = tile // query_tiles % num_parts
        head = tile // query_tiles // num_parts % HEADS
        sample = (tile // query_tiles // num_parts // HEADS).to(tl.int64)
        counted = query + rows < length_of(query_lengths, sample, num_queries)
        skipped = (sample * num_queries + query) * WIDTH + head * HEAD_DIM
        k_base = k + sample * num_keys * WIDTH + head * HEAD_DIM
        v_base = v + sample * num_keys * WIDTH + head * HEAD_DIM
        q_rms = None if q_inverse_rms is None else q_inverse_rms + sample * num_queries
        q_gain = None if q_weight is None else q_weight + head * HEAD_DIM
        k_rms = None if k_inverse_rms is None else k_inverse_rms + sample * num_keys
        k_gain = None if k_weight is None else k_weight + head * HEAD_DIM
        mask = None if key_mask is None else key_mask + sample * num_keys
        q_low, q_high = load_halves(
            q + skipped, rows, counted, query, q_rms, q_gain, q_cos, q_sin, q_tokens_per_row, q_first_token,
            WIDTH, HALF, BLOCK_HALF,
        )  # fmt: skip
        gradient = load_rows(out_gradient + skipped, rows, counted, WIDTH, HEAD_DIM, BLOCK_DIM)
        gradient = gradient.to(v.dtype.element_ty)
        at = (sample * HEADS + head) * num_queries + query
        row_lse, row_delta, factor = load_statistics(lse + at, delta + at, scale, rows, counted)
        low = tl.zeros((BLOCK_Q, BLOCK_HALF), tl.float32)
        high = tl.zeros((BLOCK_Q, BLOCK_HALF), tl.float32)
        first, last = part_of(part, num_parts, length_of(key_lengths, sample, num_keys), BLOCK_K)
        for key in range(first, last, BLOCK_K):
            low, high = _add_query_gradient(
                low, high, q_low, q_high, gradient, row_lse, row_delta, factor, k_base, v_base, key, last,
                k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token, mask, softmax_scale,
                WIDTH, HEAD_DIM, BLOCK_DIM, BLOCK_HALF, BLOCK_K,
            )  # fmt: skip
        inside = query + rows < num_queries
        gradient_base = q_gradient + part.to(tl.int64) * num_samples * num_queries * WIDTH + skipped
        store_rows(gradient_base, rows, inside, low * softmax_scale, WIDTH, HALF, BLOCK_HALF)
        store_rows(gradient_base + HALF, rows, inside, high * softmax_scale, WIDTH, HALF, BLOCK_HALF)


@triton.jit
def load_statistics(lse, delta, scale, rows, counted):
    """Log-sum-exp (+inf where there is none, so that probabilities become 0), delta, and the factor on dout."""
    row_lse = tl.load(lse + rows, mask=counted, other=float("inf"))
    row_lse = tl.where(row_lse == float("-inf"), float("inf"), row_lse)
    row_delta = tl.load(delta + rows, mask=counted, other=0.0)
    factor = 1.0 if scale is None else tl.load(scale).to(tl.float32)
    return row_lse, row_delta, factor


@triton.jit
def _add_query_gradient(
    low, high, q_low, q_high, gradient, row_lse, row_delta, factor, k_base, v_base, key, last,
    k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token, mask, softmax_scale,
    WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.arange(0, BLOCK_K)
    valid = valid_keys(mask, key, rows, last)
    skipped = key * tl.full((), WIDTH, tl.int64)
    k_low, k_high = load_halves(
        k_base + skipped, rows, valid, key, k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token,
        WIDTH, HEAD_DIM // 2, BLOCK_HALF,
    )  # fmt: skip
    values = load_rows(v_base + skipped, rows, valid, WIDTH, HEAD_DIM, BLOCK_DIM)
    nothing = tl.zeros((q_low.shape[0], BLOCK_K), tl.float32)
    scores = add_product(q_high, tl.trans(k_high), add_product(q_low, tl.trans(k_low), nothing))
    weights = tl.exp2(scores * (softmax_scale * LOG2_E) - row_lse[:, None] * LOG2_E)
    weights = tl.where(valid[None, :], weights, 0.0)
    slope = add_product(gradient, tl.trans(values), nothing) * factor
    slope = (weights * (slope - row_delta[:, None])).to(k_low.dtype)
    return add_product(slope, k_low, low), add_product(slope, k_high, high)


@triton.jit
def key_gradient_kernel(
    q, k, v, q_inverse_rms, q_weight, q_cos, q_sin, k_inverse_rms, k_weight, k_cos, k_sin,
    key_mask, key_lengths, query_lengths, scale, out_gradient, lse, delta, k_gradient, v_gradient,
    num_samples, num_queries, num_keys, num_parts,
    q_tokens_per_row, q_first_token, k_tokens_per_row, k_first_token, softmax_scale,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """k_gradient, v_gradient `[part, sample, key, head, channel]`, part by part of the queries.

    The scores are held transposed, keys by queries, so that probabilities multiply from the left without a turn.
    """
    WIDTH: tl.constexpr = HEADS * HEAD_DIM
    HALF: tl.constexpr = HEAD_DIM // 2
    key_tiles = tl.cdiv(num_keys, BLOCK_K)
    num_tiles = key_tiles * num_parts * num_samples * HEADS
    rows = tl.arange(0, BLOCK_K)
    for index in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        tile = index + tl.zeros((), tl.int32)
        key = (tile % key_tiles) * BLOCK_K
        part = tile // key_tiles % num_parts
        head = tile // key_tiles // num_parts % HEADS
        sample = (tile // key_tiles // num_parts // HEADS).to(tl.int64)
        mask = None if key_mask is None else key_mask + sample * num_keys
        valid = valid_keys(mask, key, rows, length_of(key_lengths, sample, num_keys))
        skipped = (sample * num_keys + key) * WIDTH + head * HEAD_DIM
        q_base = q + sample * num_queries * WIDTH + head * HEAD_DIM
        out_base = out_gradient + sample * num_queries * WIDTH + head * HEAD_DIM
        q_rms = None if q_inverse_rms is None else q_inverse_rms + sample * num_queries
        q_gain = None if q_weight is None else q_weight + head * HEAD_DIM
        k_rms = None if k_inverse_rms is None else k_inverse_rms + sample * num_keys
        k_gain = None if k_weight is None else k_weight + head * HEAD_DIM
        k_low, k_high = load_halves(
            k + skipped, rows, valid, key, k_rms, k_gain, k_cos, k_sin, k_tokens_per_row, k_first_token,
            WIDTH, HALF, BLOCK_HALF,
        )  # fmt: skip
        values = load_rows(v + skipped, rows, valid, WIDTH, HEAD_DIM, BLOCK_DIM)
        statistics = (sample * HEADS + head) * num_queries
        low = tl.zeros((BLOCK_K, BLOCK_HALF), tl.float32)
        high = tl.zeros((BLOCK_K, BLOCK_HALF), tl.float32)
        value_sum = tl.zeros((BLOCK_K, BLOCK_DIM), tl.float32)
        first, last = part_of(part, num_parts, length_of(query_lengths, sample, num_queries), BLOCK_Q)
        for query in range(first, last, BLOCK_Q):
            low, high, value_sum = _add_key_gradient(
                low, high, value_sum, k_low, k_high, values, valid, q_base, out_base,
                lse + statistics, delta + statistics, scale, query, last,
                q_rms, q_gain, q_cos, q_sin, q_tokens_per_row, q_first_token, softmax_scale,
                WIDTH, HEAD_DIM, BLOCK_DIM, BLOCK_HALF, BLOCK_Q,
            )  # fmt: skip
        if scale is not None:
            value_sum *= tl.load(scale).to(tl.float32)
        inside = key + rows < num_keys
        base = part.to(tl.int64) * num_samples * num_keys * WIDTH + skipped
        store_rows(k_gradient + base, rows, inside, low * softmax_scale, WIDTH, HALF, BLOCK_HALF)
        store_rows(k_gradient + base + HALF, rows, inside, high * softmax_scale, WIDTH, HALF, BLOCK_HALF)
        store_rows(v_gradient + base, rows, inside, value_sum, WIDTH, HEAD_DIM, BLOCK_DIM)


@triton.jit
def _add_key_gradient(
    low, high, value_sum, k_low, k_high, values, valid, q_base, out_base, lse, delta, scale, query, last,
    q_rms, q_gain, q_cos, q_sin, q_tokens_per_row, q_first_token, softmax_scale,
    WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_HALF: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):  # fmt: skip
    rows = tl.arange(0, BLOCK_Q)
    counted = query + rows < last
    skipped = query * tl.full((), WIDTH, tl.int64)
    q_low, q_high = load_halves(
        q_base + skipped, rows, counted, query, q_rms, q_gain, q_cos, q_sin, q_tokens_per_row, q_first_token,
        WIDTH, HEAD_DIM // 2, BLOCK_HALF,
    )  # fmt: skip
    gradient = load_rows(out_base + skipped, rows, counted, WIDTH, HEAD_DIM, BLOCK_DIM).to(values.dtype)
    row_lse, row_delta, factor = load_statistics(lse + query, delta + query, scale, rows, counted)
    nothing = tl.zeros((k_low.shape[0], BLOCK_Q), tl.float32)
    scores = add_product(k_high, tl.trans(q_high), add_product(k_low, tl.trans(q_low), nothing))
    weights = tl.exp2(scores * (softmax_scale * LOG2_E) - row_lse[None, :] * LOG2_E)
    weights = tl.where(valid[:, None], weights, 0.0)
    value_sum = add_product(weights.to(values.dtype), gradient, value_sum)
    slope = add_product(values, tl.trans(gradient), nothing) * factor
    slope = (weights * (slope - row_delta[None, :])).to(q_low.dtype)
    return add_product(slope, q_low, low), add_product(slope, q_high, high), value_sum
