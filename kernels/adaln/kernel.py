"""Triton: adaptive layer norm and gated residual, a token's whole row at a time.

Memory-bound: each value is read once and written once. A row is a tuple of chunks whose width is a power of two, as
Triton wants it, so that 5120 channels are five chunks of 1024 and not 8192 of which three eighths are padding. The
modulation of a sample (shift, scale, gate) stays in registers over a program's tokens; where every token has its own it
is read with the token. Modulations are addressed by strides, so a chunk of a larger tensor or one row for the whole
batch is read where it lies. Loops over tokens are Triton's own, whose stages load tokens ahead.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_row(ptr, offset, WIDTH: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """A tuple of `[CHUNK]` in float32, zero behind `WIDTH`."""
    row = ()
    for index in tl.static_range(CHUNKS):
        channel = index * CHUNK + tl.arange(0, CHUNK)
        row += (tl.load(ptr + offset + channel, mask=channel < WIDTH, other=0.0).to(tl.float32),)
    return row


@triton.jit
def store_row(ptr, offset, row, WIDTH: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """The inverse of `load_row`, in the dtype of `ptr`."""
    for index in tl.static_range(CHUNKS):
        channel = index * CHUNK + tl.arange(0, CHUNK)
        tl.store(ptr + offset + channel, row[index].to(ptr.dtype.element_ty), mask=channel < WIDTH)


@triton.jit
def zero_row(CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """A row of zeros."""
    row = ()
    for _ in tl.static_range(CHUNKS):
        row += (tl.zeros((CHUNK,), dtype=tl.float32),)
    return row


@triton.jit
def load_factor(ptr, offset, WIDTH: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """1 + scale."""
    row = ()
    for index in tl.static_range(CHUNKS):
        channel = index * CHUNK + tl.arange(0, CHUNK)
        row += (1.0 + tl.load(ptr + offset + channel, mask=channel < WIDTH, other=0.0).to(tl.float32),)
    return row


@triton.jit
def mean_of_products(a, b, WIDTH: tl.constexpr, CHUNKS: tl.constexpr):
    """Over the row, one reduction for all chunks."""
    total = a[0] * b[0]
    for index in tl.static_range(1, CHUNKS):
        total += a[index] * b[index]
    return tl.sum(total) / WIDTH


@triton.jit
def mean_of(a, WIDTH: tl.constexpr, CHUNKS: tl.constexpr):
    """Over the row, one reduction for all chunks."""
    total = a[0]
    for index in tl.static_range(1, CHUNKS):
        total += a[index]
    return tl.sum(total) / WIDTH


@triton.jit
def normalise(x, eps, WIDTH: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """The row with mean 0 and variance 1, zero where padded, and 1/std. The mean goes first: no cancellation."""
    mean = mean_of(x, WIDTH, CHUNKS)
    centred = ()
    for index in tl.static_range(CHUNKS):
        channel = index * CHUNK + tl.arange(0, CHUNK)
        centred += (tl.where(channel < WIDTH, x[index] - mean, 0.0),)
    inverse_std = tl.rsqrt(mean_of_products(centred, centred, WIDTH, CHUNKS) + eps)
    normed = ()
    for index in tl.static_range(CHUNKS):
        normed += (centred[index] * inverse_std,)
    return normed, inverse_std


@triton.jit
def add_product(sums, a, b, CHUNKS: tl.constexpr):
    """sums + a * b."""
    added = ()
    for index in tl.static_range(CHUNKS):
        added += (sums[index] + a[index] * b[index],)
    return added


@triton.jit
def product(a, b, CHUNKS: tl.constexpr):
    """a * b."""
    multiplied = ()
    for index in tl.static_range(CHUNKS):
        multiplied += (a[index] * b[index],)
    return multiplied


@triton.jit
def modulated_norm_forward(
    x_ptr,
    shift_ptr,
    scale_ptr,
    y_ptr,
    length,
    shift_sample_stride,
    shift_token_stride,
    scale_sample_stride,
    scale_token_stride,
    eps,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    TOKENS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Tokens [i * TOKENS, (i + 1) * TOKENS) of sample j, for program (i, j)."""
    sample = tl.program_id(1).to(tl.int64)
    shift_ptr += sample * shift_sample_stride
    scale_ptr += sample * scale_sample_stride
    if not PER_TOKEN:
        shift = load_row(shift_ptr, 0, WIDTH, CHUNK, CHUNKS)
        factor = load_factor(scale_ptr, 0, WIDTH, CHUNK, CHUNKS)
    begin = tl.program_id(0) * TOKENS
    for token in tl.range(begin, tl.minimum(begin + TOKENS, length), num_stages=STAGES):
        place = tl.cast(token, tl.int64)
        if PER_TOKEN:
            shift = load_row(shift_ptr, place * shift_token_stride, WIDTH, CHUNK, CHUNKS)
            factor = load_factor(scale_ptr, place * scale_token_stride, WIDTH, CHUNK, CHUNKS)
        offset = (sample * length + place) * WIDTH
        normed, _ = normalise(load_row(x_ptr, offset, WIDTH, CHUNK, CHUNKS), eps, WIDTH, CHUNK, CHUNKS)
        store_row(y_ptr, offset, add_product(shift, normed, factor, CHUNKS), WIDTH, CHUNK, CHUNKS)


@triton.jit
def modulated_norm_backward(
    x_ptr,
    scale_ptr,
    grad_y_ptr,
    grad_x_ptr,
    grad_shift_ptr,
    grad_scale_ptr,
    length,
    scale_sample_stride,
    scale_token_stride,
    eps,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every num_programs-th token of sample j, for program (i, j).

    With n the normed row and g the weighted gradient: grad_x = (g - mean(g) - n mean(g n)) / std. The gradients of
    shift and scale go to row i of sample j in `grad_shift_ptr` and `grad_scale_ptr`, summed over this program's tokens;
    with a modulation for each token, scale's goes to the token's row, and shift's is the gradient of y itself.
    """
    sample = tl.program_id(1).to(tl.int64)
    scale_ptr += sample * scale_sample_stride
    if not PER_TOKEN:
        factor = load_factor(scale_ptr, 0, WIDTH, CHUNK, CHUNKS)
        sum_shift = zero_row(CHUNK, CHUNKS)
        sum_scale = zero_row(CHUNK, CHUNKS)
    for token in tl.range(tl.program_id(0), length, tl.num_programs(0), num_stages=STAGES):
        place = tl.cast(token, tl.int64)
        offset = (sample * length + place) * WIDTH
        x = load_row(x_ptr, offset, WIDTH, CHUNK, CHUNKS)
        grad_y = load_row(grad_y_ptr, offset, WIDTH, CHUNK, CHUNKS)
        normed, inverse_std = normalise(x, eps, WIDTH, CHUNK, CHUNKS)
        if PER_TOKEN:
            factor = load_factor(scale_ptr, place * scale_token_stride, WIDTH, CHUNK, CHUNKS)
            store_row(grad_scale_ptr, offset, product(grad_y, normed, CHUNKS), WIDTH, CHUNK, CHUNKS)
        else:
            sum_scale = add_product(sum_scale, grad_y, normed, CHUNKS)
            summed = ()
            for index in tl.static_range(CHUNKS):
                summed += (sum_shift[index] + grad_y[index],)
            sum_shift = summed
        grad = product(grad_y, factor, CHUNKS)
        mean = mean_of(grad, WIDTH, CHUNKS)
        along = mean_of_products(grad, normed, WIDTH, CHUNKS)
        grad_x = ()
        for index in tl.static_range(CHUNKS):
            grad_x += ((grad[index] - mean - normed[index] * along) * inverse_std,)
        store_row(grad_x_ptr, offset, grad_x, WIDTH, CHUNK, CHUNKS)
    if not PER_TOKEN:
        own = (sample * tl.num_programs(0) + tl.program_id(0)) * WIDTH
        store_row(grad_shift_ptr, own, sum_shift, WIDTH, CHUNK, CHUNKS)
        store_row(grad_scale_ptr, own, sum_scale, WIDTH, CHUNK, CHUNKS)


@triton.jit
def gated_residual_forward(
    x_ptr,
    branch_ptr,
    gate_ptr,
    y_ptr,
    length,
    gate_sample_stride,
    gate_token_stride,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    TOKENS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Tokens [i * TOKENS, (i + 1) * TOKENS) of sample j, for program (i, j)."""
    sample = tl.program_id(1).to(tl.int64)
    gate_ptr += sample * gate_sample_stride
    if not PER_TOKEN:
        gate = load_row(gate_ptr, 0, WIDTH, CHUNK, CHUNKS)
    begin = tl.program_id(0) * TOKENS
    for token in tl.range(begin, tl.minimum(begin + TOKENS, length), num_stages=STAGES):
        place = tl.cast(token, tl.int64)
        if PER_TOKEN:
            gate = load_row(gate_ptr, place * gate_token_stride, WIDTH, CHUNK, CHUNKS)
        offset = (sample * length + place) * WIDTH
        x = load_row(x_ptr, offset, WIDTH, CHUNK, CHUNKS)
        branch = load_row(branch_ptr, offset, WIDTH, CHUNK, CHUNKS)
        store_row(y_ptr, offset, add_product(x, branch, gate, CHUNKS), WIDTH, CHUNK, CHUNKS)


@triton.jit
def gated_residual_backward(
    branch_ptr,
    gate_ptr,
    grad_y_ptr,
    grad_branch_ptr,
    grad_gate_ptr,
    length,
    gate_sample_stride,
    gate_token_stride,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every num_programs-th token of sample j, for program (i, j); the gate's gradient as `modulated_norm_backward`."""
    sample = tl.program_id(1).to(tl.int64)
    gate_ptr += sample * gate_sample_stride
    if not PER_TOKEN:
        gate = load_row(gate_ptr, 0, WIDTH, CHUNK, CHUNKS)
        sum_gate = zero_row(CHUNK, CHUNKS)
    for token in tl.range(tl.program_id(0), length, tl.num_programs(0), num_stages=STAGES):
        place = tl.cast(token, tl.int64)
        offset = (sample * length + place) * WIDTH
        grad_y = load_row(grad_y_ptr, offset, WIDTH, CHUNK, CHUNKS)
        branch = load_row(branch_ptr, offset, WIDTH, CHUNK, CHUNKS)
        if PER_TOKEN:
            gate = load_row(gate_ptr, place * gate_token_stride, WIDTH, CHUNK, CHUNKS)
            store_row(grad_gate_ptr, offset, product(grad_y, branch, CHUNKS), WIDTH, CHUNK, CHUNKS)
        else:
            sum_gate = add_product(sum_gate, grad_y, branch, CHUNKS)
        store_row(grad_branch_ptr, offset, product(grad_y, gate, CHUNKS), WIDTH, CHUNK, CHUNKS)
    if not PER_TOKEN:
        own = (sample * tl.num_programs(0) + tl.program_id(0)) * WIDTH
        store_row(grad_gate_ptr, own, sum_gate, WIDTH, CHUNK, CHUNKS)
