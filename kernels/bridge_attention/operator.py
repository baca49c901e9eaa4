"""The Bridge's attention as PyTorch operators: launches, shapes for tracing, gradients.

One operator serves every public function. Queries or keys whose norm weight and tables are given come projected and are
normed and rotated while they are loaded; those without come ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from kernels.bridge_attention.launches import Inputs, Side

Place = Sequence[int]
"""(frames, rows, columns) of the grid that the tables count, and the first token; empty without tables."""


def attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    key_mask: torch.Tensor | None,
    key_lengths: torch.Tensor | None,
    query_lengths: torch.Tensor | None,
    residual: torch.Tensor | None,
    scale: torch.Tensor | None,
    q_weight: torch.Tensor | None,
    q_cos: torch.Tensor | None,
    q_sin: torch.Tensor | None,
    k_weight: torch.Tensor | None,
    k_cos: torch.Tensor | None,
    k_sin: torch.Tensor | None,
    q_place: Place,
    k_place: Place,
    eps: float,
    float32_output: bool,
    keep_attended: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(residual + scale * attention, log-sum-exp, attention if kept, inverse rms of q and of k if normed on load).

    `q`, `k`, `v`, `residual` contiguous `[b, l, h, d]`; what is not asked for comes back empty.
    """
    from kernels.bridge_attention import launches

    q_rms = launches.inverse_rms(q, eps) if q_weight is not None else _empty(q)
    k_rms = launches.inverse_rms(k, eps) if k_weight is not None else _empty(q)
    sides = _side(q_rms, q_weight, q_cos, q_sin, q_place), _side(k_rms, k_weight, k_cos, k_sin, k_place)
    inputs = launches.Inputs(q, k, v, key_mask, key_lengths, query_lengths, *sides)
    out, lse, attended = launches.forward(
        inputs,
        residual,
        scale,
        out_dtype=torch.float32 if float32_output else q.dtype,
        keep_attended=keep_attended,
    )
    return out, lse, _empty(out) if attended is None else attended, q_rms, k_rms


bridge_attention_op = torch.library.custom_op("mova::bridge_attention", attention_forward, mutates_args=())


@bridge_attention_op.register_fake
def _(q: torch.Tensor, k: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    q_weight, k_weight, float32_output, keep_attended = rest[6], rest[9], rest[-2], rest[-1]
    samples, queries, heads, _ = q.shape
    out = torch.empty_like(q, dtype=torch.float32 if float32_output else q.dtype)
    lse = q.new_empty(samples, heads, queries, dtype=torch.float32)
    q_rms = _empty(q) if q_weight is None else q.new_empty(q.shape[:2], dtype=torch.float32)
    k_rms = _empty(q) if k_weight is None else q.new_empty(k.shape[:2], dtype=torch.float32)
    return out, lse, torch.empty_like(out) if keep_attended else _empty(out), q_rms, k_rms


def attention_backward(
    out_gradient: torch.Tensor,
    lse_gradient: torch.Tensor | None,
    attended: torch.Tensor,
    lse: torch.Tensor,
    q_rms: torch.Tensor,
    k_rms: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    key_mask: torch.Tensor | None,
    key_lengths: torch.Tensor | None,
    query_lengths: torch.Tensor | None,
    scale: torch.Tensor | None,
    q_weight: torch.Tensor | None,
    q_cos: torch.Tensor | None,
    q_sin: torch.Tensor | None,
    k_weight: torch.Tensor | None,
    k_cos: torch.Tensor | None,
    k_sin: torch.Tensor | None,
    q_place: Place,
    k_place: Place,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of (q, k, v, scale, q_weight, k_weight); empty for weights that were not given."""
    from kernels.bridge_attention import launches

    sides = _side(q_rms, q_weight, q_cos, q_sin, q_place), _side(k_rms, k_weight, k_cos, k_sin, k_place)
    inputs: Inputs = launches.Inputs(q, k, v, key_mask, key_lengths, query_lengths, *sides)
    gradients = launches.backward(inputs, scale, attended, lse, out_gradient, lse_gradient)
    q_gradient, k_gradient, v_gradient, scale_gradient = gradients
    q_gradient, q_weight_gradient = _through_norm(q_gradient, q, q_weight, q_cos, q_sin, q_place, eps)
    k_gradient, k_weight_gradient = _through_norm(k_gradient, k, k_weight, k_cos, k_sin, k_place, eps)
    scale_gradient = scale_gradient.view(()) if scale is None else scale_gradient.view(scale.shape).to(scale.dtype)
    return q_gradient, k_gradient, v_gradient, scale_gradient, q_weight_gradient, k_weight_gradient


bridge_attention_backward_op = torch.library.custom_op(
    "mova::bridge_attention_backward", attention_backward, mutates_args=()
)


@bridge_attention_backward_op.register_fake
def _(*arguments: Any) -> tuple[torch.Tensor, ...]:
    q, k, v, scale, q_weight, k_weight = (arguments[index] for index in (6, 7, 8, 12, 13, 16))
    return (
        torch.empty_like(q),
        torch.empty_like(k),
        torch.empty_like(v),
        q.new_empty((), dtype=torch.float32) if scale is None else torch.empty_like(scale),
        _empty(q) if q_weight is None else torch.empty_like(q_weight),
        _empty(q) if k_weight is None else torch.empty_like(k_weight),
    )


def graded(*tensors: torch.Tensor | None) -> bool:
    """Whether a gradient will be asked for any of them."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def one_number(scale: float | torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    """A condition scale as the operator takes it: a tensor on the device, or None."""
    return torch.full((1,), float(scale), device=device) if isinstance(scale, (int, float)) else scale


def _empty(like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(0, dtype=torch.float32)


def _side(
    rms: torch.Tensor,
    weight: torch.Tensor | None,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    place: Place,
) -> Side | None:
    from kernels.bridge_attention.launches import Side

    if weight is None or cos is None or sin is None:
        return None
    _, rows, columns, first_token = place
    return Side(rms, weight, cos, sin, rows * columns, first_token)


def _through_norm(
    gradient_blhd: torch.Tensor,
    x_blhd: torch.Tensor,
    weight: torch.Tensor | None,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    place: Place,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """From the gradient of rotated queries or keys to that of projected ones and of the norm's weight."""
    from kernels.aligned_rope.operator import backward

    if weight is None or cos is None or sin is None:
        return gradient_blhd, _empty(x_blhd)
    heads, split = x_blhd.shape[2], (x_blhd.shape[3] // 2, 0, 0)
    x_bld = x_blhd.flatten(2)
    found, of_weight = backward(gradient_blhd, x_bld, weight, cos, sin, place[:3], split, False, heads, place[3], eps)
    return found.view(x_blhd.shape), of_weight


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    q, k, v, key_mask, key_lengths, query_lengths, residual, scale, *normed = inputs
    tables, (q_place, k_place, eps, _, _) = normed[:6], normed[6:]
    out, lse, attended, q_rms, k_rms = output
    ctx.set_materialize_grads(False)
    ctx.rest = (q_place, k_place, eps)
    ctx.residual_dtype = None if residual is None else residual.dtype
    kept = attended if attended.numel() else out
    ctx.save_for_backward(
        kept, lse, q_rms, k_rms, q, k, v, key_mask, key_lengths, query_lengths, scale, *tables
    )  # fmt: skip


def _differentiate(
    ctx: Any, out_gradient: torch.Tensor | None, lse_gradient: torch.Tensor | None, *unused: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    attended, *others = ctx.saved_tensors
    gradient = torch.zeros_like(attended) if out_gradient is None else out_gradient.contiguous()
    found = bridge_attention_backward_op(gradient, lse_gradient, attended, *others, *ctx.rest)
    q_gradient, k_gradient, v_gradient, of_scale, of_q_weight, of_k_weight = found
    scale, q_weight, k_weight = others[9], others[10], others[13]
    return (
        q_gradient,
        k_gradient,
        v_gradient,
        None,
        None,
        None,
        None if ctx.residual_dtype is None else gradient.to(ctx.residual_dtype),
        None if scale is None else of_scale,
        None if q_weight is None else of_q_weight,
        None,
        None,
        None if k_weight is None else of_k_weight,
        *(None,) * 7,
    )


bridge_attention_op.register_autograd(_differentiate, setup_context=_remember)
