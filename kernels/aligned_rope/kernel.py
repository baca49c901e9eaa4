"""Triton: RMSNorm over the whole width, heads, rotation. One token at a time, its whole row held in registers.

Memory-bound: each value is read once and written once. A program keeps the weight in registers over its tokens, since
reading it again for each would cost half as much L2 traffic as the tokens themselves. A row is a tuple of chunks of
heads, in each as many as the largest power of two that divides them: 40 heads are five chunks of 8, not 64 of which 24
are padding. A chunk is two tiles `[head, pair]`, the first and the second member of each pair that turns together.

`halves` reads the two members from where they lie, in runs of half a head. `interleaved` reads whole heads and parts
neighbours in registers, so that loads stay wide. Loops over tokens are Triton's own, whose stages load tokens ahead.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_chunk(
    ptr,
    offset,
    index: tl.constexpr,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
):
    """Heads [index * HEADS, (index + 1) * HEADS) of the row at `offset`: two float32 tiles, zero where padded."""
    head = index * HEADS + tl.arange(0, HEADS)[:, None]
    if INTERLEAVED:
        channel = tl.arange(0, 2 * PAIRS_PADDED)[None, :]
        inside = (head < NUM_HEADS) & (channel < 2 * PAIRS)
        row = tl.load(ptr + offset + head * (2 * PAIRS) + channel, mask=inside, other=0.0).to(tl.float32)
        first, second = tl.split(tl.reshape(row, (HEADS, PAIRS_PADDED, 2)))
    else:
        pair = tl.arange(0, PAIRS_PADDED)[None, :]
        inside = (head < NUM_HEADS) & (pair < PAIRS)
        place = ptr + offset + head * (2 * PAIRS) + pair
        first = tl.load(place, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(place + PAIRS, mask=inside, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def load_row(
    ptr,
    offset,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNKS: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
):
    """The row `[NUM_HEADS * 2 * PAIRS]` at `offset`: a tuple of first members' tiles and one of second members'."""
    firsts = ()
    seconds = ()
    for index in tl.static_range(CHUNKS):
        first, second = load_chunk(ptr, offset, index, NUM_HEADS, HEADS, PAIRS, PAIRS_PADDED, INTERLEAVED)
        firsts += (first,)
        seconds += (second,)
    return firsts, seconds


@triton.jit
def store_chunk(
    ptr,
    offset,
    index: tl.constexpr,
    first,
    second,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
):
    """The inverse of `load_chunk`, in the dtype of `ptr`."""
    head = index * HEADS + tl.arange(0, HEADS)[:, None]
    dtype = ptr.dtype.element_ty
    if INTERLEAVED:
        channel = tl.arange(0, 2 * PAIRS_PADDED)[None, :]
        inside = (head < NUM_HEADS) & (channel < 2 * PAIRS)
        row = tl.reshape(tl.join(first, second), (HEADS, 2 * PAIRS_PADDED))
        tl.store(ptr + offset + head * (2 * PAIRS) + channel, row.to(dtype), mask=inside)
    else:
        pair = tl.arange(0, PAIRS_PADDED)[None, :]
        inside = (head < NUM_HEADS) & (pair < PAIRS)
        place = ptr + offset + head * (2 * PAIRS) + pair
        tl.store(place, first.to(dtype), mask=inside)
        tl.store(place + PAIRS, second.to(dtype), mask=inside)


@triton.jit
def mean_of_products(a_1, a_2, b_1, b_2, WIDTH: tl.constexpr, CHUNKS: tl.constexpr):
    """Over the row, one reduction for all chunks."""
    total = a_1[0] * b_1[0] + a_2[0] * b_2[0]
    for index in tl.static_range(1, CHUNKS):
        total += a_1[index] * b_1[index] + a_2[index] * b_2[index]
    return tl.sum(total) / WIDTH


@triton.jit
def load_angle(
    cos_ptr,
    sin_ptr,
    token,
    rows,
    columns,
    first_row_of_rows,
    first_row_of_columns,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    FRAME_PAIRS: tl.constexpr,
    ROW_PAIRS: tl.constexpr,
):
    """Cosines and sines `[1, PAIRS_PADDED]` of a token of the grid; see `kernels.aligned_rope.rotation`."""
    pair = tl.arange(0, PAIRS_PADDED)
    frame = token // (rows * columns)
    if FRAME_PAIRS == PAIRS:
        place = frame * PAIRS + pair
    else:
        row = first_row_of_rows + token // columns % rows
        column = first_row_of_columns + token % columns
        axis_row = tl.where(pair < FRAME_PAIRS, frame, tl.where(pair < FRAME_PAIRS + ROW_PAIRS, row, column))
        place = axis_row * PAIRS + pair
    cos = tl.load(cos_ptr + place, mask=pair < PAIRS, other=0.0)
    sin = tl.load(sin_ptr + place, mask=pair < PAIRS, other=0.0)
    return cos[None, :], sin[None, :]


@triton.jit
def norm_rotate_forward(
    x_ptr,
    weight_ptr,
    cos_ptr,
    sin_ptr,
    y_ptr,
    num_rows,
    length,
    first_token,
    rows,
    columns,
    first_row_of_rows,
    first_row_of_columns,
    eps,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNKS: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    FRAME_PAIRS: tl.constexpr,
    ROW_PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    TOKENS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Tokens [id * TOKENS, (id + 1) * TOKENS) of all samples; `num_rows` = batch * length."""
    WIDTH: tl.constexpr = NUM_HEADS * 2 * PAIRS
    weight_1, weight_2 = load_row(weight_ptr, 0, NUM_HEADS, HEADS, CHUNKS, PAIRS, PAIRS_PADDED, INTERLEAVED)
    begin = tl.program_id(0) * TOKENS
    for row in tl.range(begin, tl.minimum(begin + TOKENS, num_rows), num_stages=STAGES):
        offset = tl.cast(row, tl.int64) * WIDTH
        x_1, x_2 = load_row(x_ptr, offset, NUM_HEADS, HEADS, CHUNKS, PAIRS, PAIRS_PADDED, INTERLEAVED)
        cos, sin = load_angle(
            cos_ptr,
            sin_ptr,
            first_token + row % length,
            rows,
            columns,
            first_row_of_rows,
            first_row_of_columns,
            PAIRS,
            PAIRS_PADDED,
            FRAME_PAIRS,
            ROW_PAIRS,
        )
        inverse_rms = tl.rsqrt(mean_of_products(x_1, x_2, x_1, x_2, WIDTH, CHUNKS) + eps)
        for index in tl.static_range(CHUNKS):
            n_1 = x_1[index] * inverse_rms * weight_1[index]
            n_2 = x_2[index] * inverse_rms * weight_2[index]
            y_1 = n_1 * cos - n_2 * sin
            y_2 = n_2 * cos + n_1 * sin
            store_chunk(y_ptr, offset, index, y_1, y_2, NUM_HEADS, HEADS, PAIRS, PAIRS_PADDED, INTERLEAVED)


@triton.jit
def norm_rotate_backward(
    x_ptr,
    weight_ptr,
    cos_ptr,
    sin_ptr,
    grad_y_ptr,
    grad_x_ptr,
    partial_ptr,
    num_rows,
    length,
    first_token,
    rows,
    columns,
    first_row_of_rows,
    first_row_of_columns,
    eps,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNKS: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    FRAME_PAIRS: tl.constexpr,
    ROW_PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every num_programs-th token; the weight's gradient over them goes to this program's row of `partial_ptr`.

    With r = 1/rms(x) and g the gradient turned back and weighted: grad_x = r g - x r^3 mean(g x). Both sums over the
    row are taken at once, and r is taken anew from x, which is there anyway, instead of being stored.
    """
    WIDTH: tl.constexpr = NUM_HEADS * 2 * PAIRS
    weight_1, weight_2 = load_row(weight_ptr, 0, NUM_HEADS, HEADS, CHUNKS, PAIRS, PAIRS_PADDED, INTERLEAVED)
    sum_1 = ()
    sum_2 = ()
    for _ in tl.static_range(CHUNKS):
        sum_1 += (tl.zeros((HEADS, PAIRS_PADDED), dtype=tl.float32),)
        sum_2 += (tl.zeros((HEADS, PAIRS_PADDED), dtype=tl.float32),)
    for row in tl.range(tl.program_id(0), num_rows, tl.num_programs(0), num_stages=STAGES):
        offset = tl.cast(row, tl.int64) * WIDTH
        x_1, x_2 = load_row(x_ptr, offset, NUM_HEADS, HEADS, CHUNKS, PAIRS, PAIRS_PADDED, INTERLEAVED)
        turned_1, turned_2 = load_row(grad_y_ptr, offset, NUM_HEADS, HEADS, CHUNKS, PAIRS, PAIRS_PADDED, INTERLEAVED)
        cos, sin = load_angle(
            cos_ptr,
            sin_ptr,
            first_token + row % length,
            rows,
            columns,
            first_row_of_rows,
            first_row_of_columns,
            PAIRS,
            PAIRS_PADDED,
            FRAME_PAIRS,
            ROW_PAIRS,
        )
        inverse_rms = tl.rsqrt(mean_of_products(x_1, x_2, x_1, x_2, WIDTH, CHUNKS) + eps)
        added_1 = ()
        added_2 = ()
        grad_1 = ()
        grad_2 = ()
        for index in tl.static_range(CHUNKS):
            back_1 = turned_1[index] * cos + turned_2[index] * sin
            back_2 = turned_2[index] * cos - turned_1[index] * sin
            added_1 += (sum_1[index] + back_1 * x_1[index] * inverse_rms,)
            added_2 += (sum_2[index] + back_2 * x_2[index] * inverse_rms,)
            grad_1 += (back_1 * weight_1[index],)
            grad_2 += (back_2 * weight_2[index],)
        sum_1 = added_1
        sum_2 = added_2
        along = mean_of_products(grad_1, grad_2, x_1, x_2, WIDTH, CHUNKS) * inverse_rms * inverse_rms
        for index in tl.static_range(CHUNKS):
            grad_x_1 = inverse_rms * (grad_1[index] - x_1[index] * along)
            grad_x_2 = inverse_rms * (grad_2[index] - x_2[index] * along)
            store_chunk(
                grad_x_ptr, offset, index, grad_x_1, grad_x_2, NUM_HEADS, HEADS, PAIRS, PAIRS_PADDED, INTERLEAVED
            )
    own = tl.program_id(0).to(tl.int64) * WIDTH
    for index in tl.static_range(CHUNKS):
        store_chunk(
            partial_ptr, own, index, sum_1[index], sum_2[index], NUM_HEADS, HEADS, PAIRS, PAIRS_PADDED, INTERLEAVED
        )
