"""`modulated_norm` as PyTorch operators: launches, shapes for tracing, gradients."""

from __future__ import annotations

from typing import Any

import torch

from kernels.adaln.rows import (
    candidates_of_forward,
    candidates_of_norm_backward,
    key,
    num_programs,
    per_token,
    strides,
    widths,
)
from kernels.launch import allocate, launch
from kernels.tuning import Tunable

FORWARD = Tunable("modulated_norm.forward", candidates_of_forward)
BACKWARD = Tunable("modulated_norm.backward", candidates_of_norm_backward)


@torch.library.custom_op("mova::modulated_norm", mutates_args=())
def modulated_norm_op(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """See `kernels.adaln.modulated_norm`; `x` contiguous, both modulations `[b, 1 or l, d]` alike."""
    return forward(x, shift, scale, eps)


@modulated_norm_op.register_fake
def _(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("mova::modulated_norm_backward", mutates_args=())
def modulated_norm_backward_op(
    grad_y: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of `x`, shift and scale; the latter two in the dtype of `scale`.

    With a row a token, shift's is `grad_y` itself, and empty here: an operator must not return what it was given, and a
    copy would be a pass over memory for nothing.
    """
    return backward(grad_y, x, scale, eps)


@modulated_norm_backward_op.register_fake
def _(
    grad_y: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), scale.new_empty(0 if per_token(scale) else scale.shape), scale.new_empty(scale.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, shift, scale, ctx.eps = inputs
    ctx.shift_dtype = shift.dtype
    ctx.save_for_backward(x, scale)


def _differentiate(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    grad_x, grad_shift, grad_scale = modulated_norm_backward_op(grad_y.contiguous(), *ctx.saved_tensors, ctx.eps)
    if per_token(grad_scale):
        grad_shift = grad_y
    return grad_x, grad_shift.to(ctx.shift_dtype), grad_scale, None


modulated_norm_op.register_autograd(_differentiate, setup_context=_remember)


def forward(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Launches the forward kernel."""
    from kernels.adaln.kernel import modulated_norm_forward

    batch, length, _ = x.shape
    y = allocate(x.shape, x.dtype, x.device)
    config = FORWARD.configuration(key(x, scale), x.device)
    launch(
        modulated_norm_forward,
        (-(-length // config.blocks["TOKENS"]), batch),
        config,
        x_ptr=x,
        shift_ptr=shift,
        scale_ptr=scale,
        y_ptr=y,
        length=length,
        **strides("shift", shift),
        **strides("scale", scale),
        eps=eps,
        **widths(x, scale),
    )
    return y


def backward(
    grad_y: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Launches the backward kernel, and sums modulations' gradients over its programs in a fixed order."""
    from kernels.adaln.kernel import modulated_norm_backward

    batch, _, width = x.shape
    config = BACKWARD.configuration(key(x, scale), x.device)
    programs, by_token = num_programs(x, config), per_token(scale)
    grad_x = allocate(x.shape, x.dtype, x.device)
    rows, dtype = (scale.shape, scale.dtype) if by_token else ((batch, programs, width), torch.float32)
    grad_scale = allocate(rows, dtype, x.device)
    grad_shift = x.new_empty(0, dtype=dtype) if by_token else allocate(rows, dtype, x.device)
    launch(
        modulated_norm_backward,
        (programs, batch),
        config,
        x_ptr=x,
        scale_ptr=scale,
        grad_y_ptr=grad_y,
        grad_x_ptr=grad_x,
        grad_shift_ptr=None if by_token else grad_shift,
        grad_scale_ptr=grad_scale,
        length=x.shape[1],
        **strides("scale", scale),
        eps=eps,
        **widths(x, scale),
    )
    if by_token:
        return grad_x, grad_shift, grad_scale
    return grad_x, _sum(grad_shift, scale.dtype), _sum(grad_scale, scale.dtype)


def _sum(partial: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return partial.sum(dim=1, keepdim=True).to(dtype)
