"""`gated_residual` as PyTorch operators: launches, shapes for tracing, gradients."""

from __future__ import annotations

from typing import Any

import torch

from kernels.adaln.rows import (
    candidates_of_forward,
    candidates_of_residual_backward,
    key,
    num_programs,
    per_token,
    strides,
    widths,
)
from kernels.launch import allocate, launch
from kernels.tuning import Tunable

FORWARD = Tunable("gated_residual.forward", candidates_of_forward)
BACKWARD = Tunable("gated_residual.backward", candidates_of_residual_backward)


@torch.library.custom_op("mova::gated_residual", mutates_args=())
def gated_residual_op(x: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """See `kernels.adaln.gated_residual`; `x` and `branch` contiguous, `gate` `[b, 1 or l, d]`."""
    return forward(x, branch, gate)


@gated_residual_op.register_fake
def _(x: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, branch.dtype))


@torch.library.custom_op("mova::gated_residual_backward", mutates_args=())
def gated_residual_backward_op(
    grad_y: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of `branch` and `gate`; that of x is the gradient of y."""
    return backward(grad_y, branch, gate)


@gated_residual_backward_op.register_fake
def _(grad_y: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(branch), gate.new_empty(gate.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, branch, gate = inputs
    ctx.x_dtype = x.dtype
    ctx.save_for_backward(branch, gate)


def _differentiate(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    grad_branch, grad_gate = gated_residual_backward_op(grad_y.contiguous(), *ctx.saved_tensors)
    return grad_y.to(ctx.x_dtype), grad_branch, grad_gate


gated_residual_op.register_autograd(_differentiate, setup_context=_remember)


def forward(x: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Launches the forward kernel."""
    from kernels.adaln.kernel import gated_residual_forward

    batch, length, _ = x.shape
    y = allocate(x.shape, torch.promote_types(x.dtype, branch.dtype), x.device)
    config = FORWARD.configuration(key(x, gate), x.device)
    launch(
        gated_residual_forward,
        (-(-length // config.blocks["TOKENS"]), batch),
        config,
        x_ptr=x,
        branch_ptr=branch,
        gate_ptr=gate,
        y_ptr=y,
        length=length,
        **strides("gate", gate),
        **widths(x, gate),
    )
    return y


def backward(grad_y: torch.Tensor, branch: torch.Tensor, gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Launches the backward kernel, and sums the gate's gradient over its programs in a fixed order."""
    from kernels.adaln.kernel import gated_residual_backward

    batch, length, width = branch.shape
    config = BACKWARD.configuration(key(branch, gate), branch.device)
    programs, by_token = num_programs(branch, config), per_token(gate)
    grad_branch = allocate(branch.shape, branch.dtype, branch.device)
    rows, dtype = (gate.shape, gate.dtype) if by_token else ((batch, programs, width), torch.float32)
    grad_gate = allocate(rows, dtype, branch.device)
    launch(
        gated_residual_backward,
        (programs, batch),
        config,
        branch_ptr=branch,
        gate_ptr=gate,
        grad_y_ptr=grad_y,
        grad_branch_ptr=grad_branch,
        grad_gate_ptr=grad_gate,
        length=length,
        **strides("gate", gate),
        **widths(branch, gate),
    )
    return grad_branch, grad_gate if by_token else grad_gate.sum(dim=1, keepdim=True).to(gate.dtype)
