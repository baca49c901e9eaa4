"""Attention from projected queries and keys: their norm and rotation included, before it or on load.

Before it, by `kernels.aligned_rope.norm_rotate`: a pass that reads and writes the tensor, which attention then reads.
On load: a pass that only reads, and attention norms and rotates every tile that it loads, again in the backward pass.
Less memory moves and less is kept, but a tile is turned as often as it is loaded: once for the queries of audio to
video, several times for the keys of video to audio. Which wins is a measurement's to say (`python -m kernels.bench`).
"""

from __future__ import annotations

import dataclasses
from typing import get_args

import torch

from kernels.aligned_rope import Rotation, norm_rotate
from kernels.bridge_attention.checks import check_ends, check_heads, check_padding
from kernels.bridge_attention.operator import bridge_attention_op, graded, one_number
from kernels.cases import NormOnLoad
from kernels.dispatch import Request, choose


@dataclasses.dataclass(frozen=True, eq=False)
class Normed:
    """Projected queries or keys, with the norm and the rotation that they are to get.

    Attributes
    ----------
    x_blw : projected.
    weight_w : of the norm.
    rotation : of layout "halves", all of whose pairs turn with the frame.
    first_token : where in the rotation's grid token 0 lies, for a part of a longer sequence.
    """

    x_blw: torch.Tensor
    weight_w: torch.Tensor
    rotation: Rotation
    first_token: int = 0


def normed_bridge_attention(
    q: Normed,
    k: Normed,
    v_bkw: torch.Tensor,
    *,
    num_heads: int,
    eps: float,
    backend: Request,
    norm_on_load: NormOnLoad = "neither",
    key_mask_bk: torch.Tensor | None = None,
    key_lengths_b: torch.Tensor | None = None,
    query_lengths_b: torch.Tensor | None = None,
    scale: float | torch.Tensor | None = None,
    residual_bqhd: torch.Tensor | None = None,
) -> torch.Tensor:
    """residual + scale * softmax(q k / sqrt(d)) v, with q and k normed over their width and turned by their time.

    Parameters
    ----------
    q, k : projected queries and keys; their weights get gradients.
    v_bkw : projected values.
    eps : added to the mean square in both norms.
    norm_on_load : which side is normed and rotated while it is loaded; the reference knows no difference.

    Others are those of `bridge_attention`, as are result and errors.
    """
    from kernels.bridge_attention import bridge_attention

    if norm_on_load not in get_args(NormOnLoad):
        raise ValueError(f"norm_on_load {norm_on_load!r}, expected one of {', '.join(get_args(NormOnLoad))}")
    v = v_bkw.view(*v_bkw.shape[:2], num_heads, -1)
    if choose("bridge_attention", backend, v.device.type, v.dtype) == "reference" or norm_on_load == "neither":
        return bridge_attention(
            _rotated(q, num_heads, eps, backend), _rotated(k, num_heads, eps, backend), v, backend,
            key_mask_bk=key_mask_bk, key_lengths_b=key_lengths_b, query_lengths_b=query_lengths_b,
            scale=scale, residual_bqhd=residual_bqhd,
        )  # fmt: skip
    on_load = {"queries": (True, False), "keys": (False, True), "both": (True, True)}[norm_on_load]
    q_ready, q_weight, q_cos, q_sin, q_place = _side(q, num_heads, eps, backend, on_load[0])
    k_ready, k_weight, k_cos, k_sin, k_place = _side(k, num_heads, eps, backend, on_load[1])
    check_heads(q_ready, k_ready, v)
    check_padding(q_ready, k_ready, key_mask_bk, key_lengths_b, query_lengths_b)
    check_ends(q_ready, scale, residual_bqhd)
    factor = one_number(scale, v.device)
    kept = graded(q_ready, k_ready, v, q_weight, k_weight, factor) and not (factor is None and residual_bqhd is None)
    out: torch.Tensor = bridge_attention_op(
        q_ready,
        k_ready,
        v.contiguous(),
        None if key_mask_bk is None else key_mask_bk.contiguous(),
        None if key_lengths_b is None else key_lengths_b.to(torch.int32),
        None if query_lengths_b is None else query_lengths_b.to(torch.int32),
        None if residual_bqhd is None else residual_bqhd.contiguous(),
        factor,
        q_weight,
        q_cos,
        q_sin,
        k_weight,
        k_cos,
        k_sin,
        q_place,
        k_place,
        eps,
        False,
        kept,
    )[0]
    return out


def _rotated(side: Normed, num_heads: int, eps: float, backend: Request) -> torch.Tensor:
    return norm_rotate(
        side.x_blw, side.weight_w, side.rotation,
        num_heads=num_heads, eps=eps, first_token=side.first_token, backend=backend,
    )  # fmt: skip


_Parts = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, list[int]]


def _side(side: Normed, num_heads: int, eps: float, backend: Request, on_load: bool) -> _Parts:
    """Queries or keys as the operator takes them: (x, weight, cosines, sines, place), the latter empty if ready."""
    if not on_load:
        return _rotated(side, num_heads, eps, backend).contiguous(), None, None, None, []
    x = side.x_blw.view(*side.x_blw.shape[:2], num_heads, -1).contiguous()
    rotation, width, head_dim = side.rotation, side.x_blw.shape[-1], x.shape[-1]
    if rotation.layout != "halves" or rotation.split != (head_dim // 2, 0, 0):
        raise ValueError(
            f"a rotation of layout {rotation.layout} and split {rotation.split}; on load expected halves and "
            f"{(head_dim // 2, 0, 0)}"
        )
    if side.weight_w.shape != (width,):
        raise ValueError(f"the weight is {tuple(side.weight_w.shape)} and the tokens {width} wide")
    if not 0 <= side.first_token <= rotation.num_tokens - x.shape[1]:
        raise ValueError(
            f"tokens {side.first_token} to {side.first_token + x.shape[1]} of a grid of {rotation.num_tokens} tokens"
        )
    place = [*rotation.grid, side.first_token]
    cos, sin = (table.float().contiguous() for table in (rotation.cos, rotation.sin))
    return x, side.weight_w.contiguous(), cos, sin, place
