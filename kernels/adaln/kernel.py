"""Triton: adaptive layer norm and gated residual, a token's whole row at a time.

Memory-bound: each value is read once and written once. The modulation of a sample (shift, scale, gate) stays in
registers over a program's tokens; where every token has its own it is read with the token. Modulations are addressed
by strides, so a chunk of a larger tensor or one row for the whole batch is read where it lies.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _row(ptr, offset, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """`[WIDTH_PADDED]` in float32, zero where padded."""
    channel = tl.arange(0, WIDTH_PADDED)
    return tl.load(ptr + offset + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)


@triton.jit
def _store(ptr, offset, row, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    channel = tl.arange(0, WIDTH_PADDED)
    tl.store(ptr + offset + channel, row.to(ptr.dtype.element_ty), mask=channel < WIDTH)


@triton.jit
def _normalise(x, eps, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """The row with mean 0 and variance 1, zero where padded, and 1/std. The mean goes first: no cancellation."""
    centred = tl.where(tl.arange(0, WIDTH_PADDED) < WIDTH, x - tl.sum(x) / WIDTH, 0.0)
    inverse_std = tl.rsqrt(tl.sum(centred * centred) / WIDTH + eps)
    return centred * inverse_std, inverse_std


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
    WIDTH_PADDED: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Tokens [i * TOKENS, (i + 1) * TOKENS) of sample j, for program (i, j)."""
    sample = tl.program_id(1).to(tl.int64)
    shift_ptr += sample * shift_sample_stride
    scale_ptr += sample * scale_sample_stride
    if not PER_TOKEN:
        shift = _row(shift_ptr, 0, WIDTH, WIDTH_PADDED)
        factor = 1.0 + _row(scale_ptr, 0, WIDTH, WIDTH_PADDED)
    begin = tl.program_id(0) * TOKENS
    for token in range(begin, tl.minimum(begin + TOKENS, length)):
        place = tl.cast(token, tl.int64)
        if PER_TOKEN:
            shift = _row(shift_ptr, place * shift_token_stride, WIDTH, WIDTH_PADDED)
            factor = 1.0 + _row(scale_ptr, place * scale_token_stride, WIDTH, WIDTH_PADDED)
        offset = (sample * length + place) * WIDTH
        normed, _ = _normalise(_row(x_ptr, offset, WIDTH, WIDTH_PADDED), eps, WIDTH, WIDTH_PADDED)
        _store(y_ptr, offset, normed * factor + shift, WIDTH, WIDTH_PADDED)


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
    WIDTH_PADDED: tl.constexpr,
    PER_TOKEN: tl.constexpr,
):
    """Every num_programs-th token of sample j, for program (i, j).

    With n the normed row and g the weighted gradient: grad_x = (g - mean(g) - n mean(g n)) / std. The gradients of
    shift and scale go to row i of sample j in `grad_shift_ptr` and `grad_scale_ptr`, summed over this program's tokens;
    with a modulation for each token, scale's goes to the token's row, and shift's is the gradient of y itself.
    """
    sample = tl.program_id(1).to(tl.int64)
    scale_ptr += sample * scale_sample_stride
    if not PER_TOKEN:
        factor = 1.0 + _row(scale_ptr, 0, WIDTH, WIDTH_PADDED)
        sum_shift = tl.zeros((WIDTH_PADDED,), dtype=tl.float32)
        sum_scale = tl.zeros((WIDTH_PADDED,), dtype=tl.float32)
    for token in range(tl.program_id(0), length, tl.num_programs(0)):
        place = tl.cast(token, tl.int64)
        offset = (sample * length + place) * WIDTH
        normed, inverse_std = _normalise(_row(x_ptr, offset, WIDTH, WIDTH_PADDED), eps, WIDTH, WIDTH_PADDED)
        grad = _row(grad_y_ptr, offset, WIDTH, WIDTH_PADDED)
        if PER_TOKEN:
            factor = 1.0 + _row(scale_ptr, place * scale_token_stride, WIDTH, WIDTH_PADDED)
            _store(grad_scale_ptr, offset, grad * normed, WIDTH, WIDTH_PADDED)
        else:
            sum_shift += grad
            sum_scale += grad * normed
        grad *= factor
        mean = tl.sum(grad) / WIDTH
        along = tl.sum(grad * normed) / WIDTH
        _store(grad_x_ptr, offset, (grad - mean - normed * along) * inverse_std, WIDTH, WIDTH_PADDED)
    if not PER_TOKEN:
        own = (sample * tl.num_programs(0) + tl.program_id(0)) * WIDTH
        _store(grad_shift_ptr, own, sum_shift, WIDTH, WIDTH_PADDED)
        _store(grad_scale_ptr, own, sum_scale, WIDTH, WIDTH_PADDED)


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
    WIDTH_PADDED: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Tokens [i * TOKENS, (i + 1) * TOKENS) of sample j, for program (i, j)."""
    sample = tl.program_id(1).to(tl.int64)
    gate_ptr += sample * gate_sample_stride
    if not PER_TOKEN:
        gate = _row(gate_ptr, 0, WIDTH, WIDTH_PADDED)
    begin = tl.program_id(0) * TOKENS
    for token in range(begin, tl.minimum(begin + TOKENS, length)):
        place = tl.cast(token, tl.int64)
        if PER_TOKEN:
            gate = _row(gate_ptr, place * gate_token_stride, WIDTH, WIDTH_PADDED)
        offset = (sample * length + place) * WIDTH
        branch = _row(branch_ptr, offset, WIDTH, WIDTH_PADDED)
        _store(y_ptr, offset, _row(x_ptr, offset, WIDTH, WIDTH_PADDED) + branch * gate, WIDTH, WIDTH_PADDED)


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
    WIDTH_PADDED: tl.constexpr,
    PER_TOKEN: tl.constexpr,
):
    """Every num_programs-th token of sample j, for program (i, j); the gate's gradient as `modulated_norm_backward`."""
    sample = tl.program_id(1).to(tl.int64)
    gate_ptr += sample * gate_sample_stride
    if not PER_TOKEN:
        gate = _row(gate_ptr, 0, WIDTH, WIDTH_PADDED)
        sum_gate = tl.zeros((WIDTH_PADDED,), dtype=tl.float32)
    for token in range(tl.program_id(0), length, tl.num_programs(0)):
        place = tl.cast(token, tl.int64)
        offset = (sample * length + place) * WIDTH
        grad = _row(grad_y_ptr, offset, WIDTH, WIDTH_PADDED)
        branch = _row(branch_ptr, offset, WIDTH, WIDTH_PADDED)
        if PER_TOKEN:
            gate = _row(gate_ptr, place * gate_token_stride, WIDTH, WIDTH_PADDED)
            _store(grad_gate_ptr, offset, grad * branch, WIDTH, WIDTH_PADDED)
        else:
            sum_gate += grad * branch
        _store(grad_branch_ptr, offset, grad * gate, WIDTH, WIDTH_PADDED)
    if not PER_TOKEN:
        own = (sample * tl.num_programs(0) + tl.program_id(0)) * WIDTH
        _store(grad_gate_ptr, own, sum_gate, WIDTH, WIDTH_PADDED)
