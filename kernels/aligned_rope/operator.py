"""`norm_rotate` as PyTorch operators: launches, shapes for tracing, gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernels.launch import allocate, chunked, launch, num_processors
from kernels.tuning import Config, Key, Tunable

LEAST_ROWS_A_PROGRAM = 8
WIDE = 2048


def _forward_candidates(key: Key) -> tuple[Config, ...]:
    """Tokens of a program, stages of its loop, and warps for a row of that width."""
    warps = (8, 4) if int(key[0]) > WIDE else (4, 2)
    loops = ((8, 1), (1, 1), (16, 3))
    return tuple(Config(num_warps=number, TOKENS=tokens, STAGES=stages) for number in warps for tokens, stages in loops)


def _backward_candidates(key: Key) -> tuple[Config, ...]:
    """Warps, programs that stay on a multiprocessor (as many as its registers hold), and stages of their loop."""
    if int(key[0]) <= WIDE:
        loops = [(4, 4, 3), (4, 4, 1), (8, 2, 3)]
    else:
        loops = [(8, 2, 3), (8, 2, 1), (16, 1, 3)]
        if "float32" in key:
            del loops[0]  # 64 bytes of shared memory too much for two programs at compute capability 8.0
    return tuple(Config(num_warps=warps, programs=programs, STAGES=stages) for warps, programs, stages in loops)


FORWARD = Tunable("norm_rotate.forward", _forward_candidates)
BACKWARD = Tunable("norm_rotate.backward", _backward_candidates)


@torch.library.custom_op("mova::norm_rotate", mutates_args=())
def norm_rotate_op(
    x: torch.Tensor,
    weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    grid: Sequence[int],
    split: Sequence[int],
    interleaved: bool,
    num_heads: int,
    first_token: int,
    eps: float,
) -> torch.Tensor:
    """See `kernels.aligned_rope.norm_rotate`; `x` `[b, l, d]` and the tables contiguous."""
    return forward(x, weight, cos, sin, grid, split, interleaved, num_heads, first_token, eps)


@norm_rotate_op.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
    num_heads = rest[5]
    return x.new_empty(x.shape[0], x.shape[1], num_heads, x.shape[2] // num_heads)


@torch.library.custom_op("mova::norm_rotate_backward", mutates_args=())
def norm_rotate_backward_op(
    grad_y: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    grid: Sequence[int],
    split: Sequence[int],
    interleaved: bool,
    num_heads: int,
    first_token: int,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of `x` and `weight`."""
    return backward(grad_y, x, weight, cos, sin, grid, split, interleaved, num_heads, first_token, eps)


@norm_rotate_backward_op.register_fake
def _(grad_y: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, cos, sin, *ctx.rest = inputs
    ctx.save_for_backward(x, weight, cos, sin)


def _differentiate(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    grad_x, grad_weight = norm_rotate_backward_op(grad_y.contiguous(), *ctx.saved_tensors, *ctx.rest)
    return grad_x, grad_weight, *(None,) * 8


norm_rotate_op.register_autograd(_differentiate, setup_context=_remember)


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    grid: Sequence[int],
    split: Sequence[int],
    interleaved: bool,
    num_heads: int,
    first_token: int,
    eps: float,
) -> torch.Tensor:
    """Launches the forward kernel."""
    from kernels.aligned_rope.kernel import norm_rotate_forward

    batch, length, width = x.shape
    y = allocate((batch, length, num_heads, width // num_heads), x.dtype, x.device)
    config = FORWARD.configuration(_key(x), x.device)
    num_rows = batch * length
    launch(
        norm_rotate_forward,
        (-(-num_rows // config.blocks["TOKENS"]),),
        config,
        x_ptr=x,
        weight_ptr=weight,
        cos_ptr=cos,
        sin_ptr=sin,
        y_ptr=y,
        num_rows=num_rows,
        length=length,
        first_token=first_token,
        **_geometry(grid, split, interleaved, num_heads),
        eps=eps,
    )
    return y


def backward(
    grad_y: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    grid: Sequence[int],
    split: Sequence[int],
    interleaved: bool,
    num_heads: int,
    first_token: int,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Launches the backward kernel, and sums the weight's gradient over its programs in a fixed order."""
    from kernels.aligned_rope.kernel import norm_rotate_backward

    batch, length, width = x.shape
    num_rows = batch * length
    config = BACKWARD.configuration(_key(x), x.device)
    num_programs = min(-(-num_rows // LEAST_ROWS_A_PROGRAM), config.programs * num_processors(x.device))
    grad_x = allocate(x.shape, x.dtype, x.device)
    partial = allocate((num_programs, width), torch.float32, x.device)
    launch(
        norm_rotate_backward,
        (num_programs,),
        config,
        x_ptr=x,
        weight_ptr=weight,
        cos_ptr=cos,
        sin_ptr=sin,
        grad_y_ptr=grad_y,
        grad_x_ptr=grad_x,
        partial_ptr=partial,
        num_rows=num_rows,
        length=length,
        first_token=first_token,
        **_geometry(grid, split, interleaved, num_heads),
        eps=eps,
    )
    return grad_x, partial.sum(dim=0).to(weight.dtype)


def _key(x: torch.Tensor) -> Key:
    return x.shape[-1], str(x.dtype).removeprefix("torch.")


def _geometry(grid: Sequence[int], split: Sequence[int], interleaved: bool, num_heads: int) -> dict[str, Any]:
    pairs = sum(split)
    frames, rows, columns = grid
    first_row_of_rows = frames if split[0] else 0
    heads, chunks = chunked(num_heads)
    return {
        "rows": rows,
        "columns": columns,
        "first_row_of_rows": first_row_of_rows,
        "first_row_of_columns": first_row_of_rows + (rows if split[1] else 0),
        "NUM_HEADS": num_heads,
        "HEADS": heads,
        "CHUNKS": chunks,
        "PAIRS": pairs,
        "PAIRS_PADDED": 1 << (pairs - 1).bit_length(),
        "FRAME_PAIRS": split[0],
        "ROW_PAIRS": split[1],
        "INTERLEAVED": interleaved,
    }
