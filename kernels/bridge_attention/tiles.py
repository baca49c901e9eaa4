"""What every kernel of the Bridge's attention does to a tile: find it, load it, and norm and rotate it on the way.

Tensors are contiguous, `[sample, token, head, channel]`; a token's row is `WIDTH = HEADS * HEAD_DIM` long. Queries and
keys are always handled as two halves of a head, because the aligned rotation turns one half against the other: the
scores are the sum of two products of half the depth, which costs what one product of the whole depth does.

Addresses: the base of a tile is computed in 64 bits (176,400 tokens of 5,120 channels in a batch pass 2^31), offsets
inside a tile in 32.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def length_of(lengths, sample, longest):
    """How many tokens of a sample count: `longest` where no lengths are given."""
    return longest if lengths is None else tl.minimum(tl.load(lengths + sample), longest)


@triton.jit
def part_of(part, num_parts, length, BLOCK: tl.constexpr):
    """The rows `[first, last)` of one of `num_parts` equal shares of a sequence, cut at multiples of BLOCK."""
    share = tl.cdiv(tl.cdiv(length, BLOCK), num_parts) * BLOCK
    first = tl.minimum(part * share, length)
    return first, tl.minimum(first + share, length)


@triton.jit
def load_rows(base, rows, valid, WIDTH: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr):
    """A tile `[rows, BLOCK]` of which DEPTH columns are real; what is not valid is 0, whatever lies there."""
    columns = tl.arange(0, BLOCK)
    pointers = base + rows[:, None] * WIDTH + columns[None, :]
    if DEPTH == BLOCK:
        tile = tl.load(pointers, mask=valid[:, None], other=0.0)
    else:
        tile = tl.load(pointers, mask=valid[:, None] & (columns < DEPTH)[None, :], other=0.0)
    return tile


@triton.jit
def store_rows(base, rows, valid, tile, WIDTH: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr):
    """Writes the valid rows and real columns of a tile, in the dtype of the destination."""
    columns = tl.arange(0, BLOCK)
    pointers = base + rows[:, None] * WIDTH + columns[None, :]
    tl.store(pointers, tile.to(base.dtype.element_ty), mask=valid[:, None] & (columns < DEPTH)[None, :])


@triton.jit
def load_halves(
    base, rows, valid, token, inverse_rms, weight, cos, sin, tokens_per_row, first_token,
    WIDTH: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Both halves of one head of queries or keys, normed and rotated if `inverse_rms` is given.

    base : the head's first channel in the tile's first row; `rows` count from there, `token` names that row.
    inverse_rms : float32 of the sample's tokens; weight : the head's norm weights; cos, sin : float32 tables of HALF
    columns with a row for `tokens_per_row` tokens; first_token : where the sequence begins in what the tables count.
    """
    first = load_rows(base, rows, valid, WIDTH, HALF, BLOCK)
    second = load_rows(base + HALF, rows, valid, WIDTH, HALF, BLOCK)
    if inverse_rms is not None:
        columns = tl.arange(0, BLOCK)
        real = columns < HALF
        factor = tl.load(inverse_rms + token + rows, mask=valid, other=0.0)[:, None]
        low = first.to(tl.float32) * factor * tl.load(weight + columns, mask=real, other=0.0).to(tl.float32)[None, :]
        high = second.to(tl.float32) * factor
        high *= tl.load(weight + HALF + columns, mask=real, other=0.0).to(tl.float32)[None, :]
        at = ((first_token + token + rows) // tokens_per_row)[:, None] * HALF + columns[None, :]
        inside = valid[:, None] & real[None, :]
        cosine = tl.load(cos + at, mask=inside, other=0.0)
        sine = tl.load(sin + at, mask=inside, other=0.0)
        first = (low * cosine - high * sine).to(first.dtype)
        second = (high * cosine + low * sine).to(second.dtype)
    return first, second


@triton.jit
def valid_keys(key_mask, key, rows, last):
    """Which rows of a tile of keys count: those before `last` that the sample's `key_mask` allows (None: all)."""
    valid = key + rows < last
    if key_mask is not None:
        valid = valid & (tl.load(key_mask + key + rows, mask=valid, other=0) != 0)
    return valid


@triton.jit
def add_product(a, b, total):
    """total + a @ b in float32; float32 factors are split in three so that tensor cores keep their precision."""
    return tl.dot(a, b, total, input_precision="tf32x3")
