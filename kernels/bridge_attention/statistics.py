"""What a norm on load must know beforehand: the size of every token over all of its heads."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def inverse_rms_kernel(
    x, found, num_rows, eps, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr
):
    """found = 1 / sqrt(mean square + eps) of each row of `x` `[rows, WIDTH]`, float32."""
    start = tl.program_id(0).to(tl.int64) * BLOCK_ROWS
    rows = tl.arange(0, BLOCK_ROWS)
    inside = start + rows < num_rows
    columns = tl.arange(0, BLOCK_COLUMNS)
    squares = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for first in range(0, WIDTH, BLOCK_COLUMNS):
        pointers = x + start * WIDTH + rows[:, None] * WIDTH + first + columns[None, :]
        values = tl.load(pointers, mask=inside[:, None] & (first + columns < WIDTH)[None, :], other=0.0)
        squares += values.to(tl.float32) * values.to(tl.float32)
    tl.store(found + start + rows, tl.rsqrt(tl.sum(squares, axis=1) / WIDTH + eps), mask=inside)
