"""Joins the outputs of parts of the keys by their log-sum-exp, in the order of the parts.

As `reference.merge_parts`, in one pass, with scale and residual on the way out.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.bridge_attention.forward import store_output
from kernels.bridge_attention.tiles import load_rows


@triton.jit
def merge_kernel(
    outs, lses, residual, scale, out, attended, lse,
    num_rows, num_queries, num_parts,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    """A row is one query of one head, heads fastest; there are num_rows = samples * queries * heads of them."""
    start = tl.program_id(0).to(tl.int64) * BLOCK_ROWS
    rows = tl.arange(0, BLOCK_ROWS)
    inside = start + rows < num_rows
    token = (start + rows) // HEADS
    at = (token // num_queries * HEADS + (start + rows) % HEADS) * num_queries + token % num_queries
    stride = num_rows * tl.full((), 1, tl.int64)
    highest = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    for part in range(num_parts):
        highest = tl.maximum(highest, tl.load(lses + part * stride + at, mask=inside, other=float("-inf")))
    finite = tl.where(highest == float("-inf"), 0.0, highest)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    merged = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    for part in range(num_parts):
        weight = tl.exp(tl.load(lses + part * stride + at, mask=inside, other=float("-inf")) - finite)
        total += weight
        part_base = outs + (part * stride + start) * HEAD_DIM
        merged += weight[:, None] * load_rows(part_base, rows, inside, HEAD_DIM, HEAD_DIM, BLOCK_DIM)
    reached = total > 0
    total = tl.where(reached, total, 1.0)
    tl.store(lse + at, tl.where(reached, tl.log(total) + finite, float("-inf")), mask=inside)
    store_output(
        out, attended, residual, scale, start * HEAD_DIM, rows, inside, merged / total[:, None],
        HEAD_DIM, HEAD_DIM, BLOCK_DIM,
    )  # fmt: skip
