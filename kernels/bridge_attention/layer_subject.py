"""A whole Bridge layer, both directions, as tests and benchmark see it.

From projected queries, keys and values to scale and residual. The projections before and after are left out on every
side: they are the same matrix products whoever attends.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

from kernels.aligned_rope import Rotation, norm_rotate
from kernels.aligned_rope import operator as norm_operator
from kernels.bridge_attention import Normed, configurations, normed_bridge_attention
from kernels.bridge_attention.operator import attention_backward, attention_forward
from kernels.bridge_attention.reference import attend
from kernels.bridge_attention.subject import Attention, attention_cost, attentions
from kernels.cases import BRIDGE_LAYER, BridgeLayerShape, Case, Tolerance, tolerance
from kernels.subject import Cost, Function, Inputs, Outputs, Pass, Subject, random_normal
from kernels.tuning import Key

EPS = 1e-6
DIRECTIONS = ("to_video", "to_audio")

LayerCase = Case[BridgeLayerShape]


class BridgeLayer(Subject[BridgeLayerShape]):
    """Norms, rotations, attention, scale and residual of both directions."""

    operator = "bridge_layer"
    cases = BRIDGE_LAYER
    tunables = ()  # it is made of operators that are tuned as their own subjects

    def inputs(self, case: LayerCase, device: torch.device, generator: torch.Generator | None) -> Inputs:
        shape, half = case.shape, case.shape.head_dim // 2
        draw = functools.partial(random_normal, device=device, generator=generator)
        lengths = {"video": math.prod(shape.grid), "audio": shape.num_audio_tokens}
        inputs = {"scale": draw((1,), torch.float32, mean=1.0, requires_grad=True)}
        for modality, rows in (("video", shape.grid[0]), ("audio", shape.num_audio_tokens)):
            angles = draw((rows, half), torch.float32)
            inputs |= {f"{modality}_cos": angles.cos(), f"{modality}_sin": angles.sin()}
        for direction in DIRECTIONS:
            asking, asked, heads = _ends(direction, shape)
            width = heads * shape.head_dim
            for name, modality in (("q", asking), ("k", asked), ("v", asked), ("residual", asking)):
                size = (shape.batch, lengths[modality], width)
                inputs[f"{direction}_{name}"] = draw(size, case.dtype, requires_grad=True)
            for name in ("q_weight", "k_weight"):
                inputs[f"{direction}_{name}"] = draw((width,), torch.float32, mean=1.0, requires_grad=True)
        return inputs

    def ours(self, case: LayerCase) -> Function:
        return lambda inputs: tuple(_ours(case.shape, inputs, direction) for direction in DIRECTIONS)

    def reference(self, case: LayerCase) -> Function:
        return _composition(case.shape, attend)

    def launch(self, case: LayerCase, inputs: Inputs) -> None:
        for direction in DIRECTIONS:
            _launch(case.shape, inputs, direction)

    def cost(self, case: LayerCase, which: Pass) -> Cost:
        """The two attentions; norms and rotations cost nothing if they happen while queries and keys are loaded."""
        shape, video = case.shape, math.prod(case.shape.grid)
        lengths = {"to_video": (video, shape.num_audio_tokens), "to_audio": (shape.num_audio_tokens, video)}
        costs = [
            attention_cost(
                shape.batch, *lengths[direction], _ends(direction, shape)[2] * shape.head_dim, case.dtype, which,
                added=True,
            )
            for direction in DIRECTIONS
        ]  # fmt: skip
        return Cost(sum(cost.num_bytes for cost in costs), sum(cost.num_flops for cost in costs))

    def key(self, case: LayerCase) -> Key:
        shape = case.shape
        return configurations.key(shape.video_heads, shape.head_dim, shape.norm_on_load[0], case.dtype)

    def tolerances(self, case: LayerCase) -> Mapping[str, Tolerance]:
        """As one attention, on queries and keys that were rounded after their rotation; then the norm's gradient.

        For the scale's see `BridgeAttention.tolerances`: here four roundings, ten times.
        """
        shape = case.shape
        terms = math.prod(shape.grid) + shape.num_audio_tokens + shape.video_heads * shape.head_dim
        found = {f"output{index}": tolerance(case.dtype, terms=terms, roundings=4) for index in range(2)}
        found["grad_scale"] = tolerance(case.dtype, terms=terms * shape.head_dim, roundings=40)
        for direction in DIRECTIONS:
            for name, roundings in (("q", 6), ("k", 6), ("v", 4), ("q_weight", 6), ("k_weight", 6), ("residual", 1)):
                found[f"grad_{direction}_{name}"] = tolerance(case.dtype, terms=terms, roundings=roundings)
        return found

    def contenders(self, case: LayerCase) -> Mapping[str, Function]:
        """Norms, rotations, scale and residual compiled around each of PyTorch's attentions."""
        found = {
            name: torch.compile(_composition(case.shape, attention), dynamic=False)
            for name, attention in attentions().items()
        }
        return {**super().contenders(case), **found}


def _ends(direction: str, shape: BridgeLayerShape) -> tuple[str, str, int]:
    """(who asks, who is asked, heads)."""
    return {"to_video": ("video", "audio", shape.video_heads), "to_audio": ("audio", "video", shape.audio_heads)}[
        direction
    ]


def _split(x_blw: torch.Tensor, heads: int) -> torch.Tensor:
    return x_blw.view(*x_blw.shape[:2], heads, -1)


def _rotation(shape: BridgeLayerShape, inputs: Inputs, modality: str) -> Rotation:
    grid = shape.grid if modality == "video" else (shape.num_audio_tokens, 1, 1)
    tables = inputs[f"{modality}_cos"], inputs[f"{modality}_sin"]
    return Rotation(*tables, grid, (shape.head_dim // 2, 0, 0), "halves")


def _ours(shape: BridgeLayerShape, inputs: Inputs, direction: str) -> torch.Tensor:
    asking, asked, heads = _ends(direction, shape)
    given = {name: inputs[f"{direction}_{name}"] for name in ("q", "k", "v", "residual", "q_weight", "k_weight")}
    return normed_bridge_attention(
        Normed(given["q"], given["q_weight"], _rotation(shape, inputs, asking)),
        Normed(given["k"], given["k_weight"], _rotation(shape, inputs, asked)),
        given["v"],
        num_heads=heads,
        eps=EPS,
        backend="triton",
        norm_on_load=shape.norm_on_load[DIRECTIONS.index(direction)],
        scale=inputs["scale"],
        residual_bqhd=_split(given["residual"], heads),
    )


def _composition(shape: BridgeLayerShape, attention: Attention) -> Function:
    """The layer in PyTorch around a given attention."""

    def run(inputs: Inputs) -> Outputs:
        outputs = []
        for direction in DIRECTIONS:
            asking, asked, heads = _ends(direction, shape)
            q, k = (
                norm_rotate(
                    inputs[f"{direction}_{name}"],
                    inputs[f"{direction}_{name}_weight"],
                    _rotation(shape, inputs, modality),
                    num_heads=heads,
                    eps=EPS,
                    backend="reference",
                )
                for name, modality in (("q", asking), ("k", asked))
            )
            v, residual = (_split(inputs[f"{direction}_{name}"], heads) for name in ("v", "residual"))
            outputs.append(residual + (attention(q, k, v) * inputs["scale"]).to(residual.dtype))
        return tuple(outputs)

    return run


def _launch(shape: BridgeLayerShape, inputs: Inputs, direction: str) -> None:
    """Forward and backward kernels of one direction, for tensors on the meta device too."""
    asking, asked, heads = _ends(direction, shape)
    on_load = shape.norm_on_load[DIRECTIONS.index(direction)]
    sides: list[tuple[torch.Tensor, list[Any], list[int]]] = []
    for name, modality, loading in (("q", asking, ("queries", "both")), ("k", asked, ("keys", "both"))):
        rotation, x = _rotation(shape, inputs, modality), inputs[f"{direction}_{name}"]
        weight = inputs[f"{direction}_{name}_weight"]
        if on_load in loading:
            tables = [weight, rotation.cos, rotation.sin]
            sides.append((_split(x, heads), tables, [*rotation.grid, 0]))
        else:
            arguments = (x, weight, rotation.cos, rotation.sin, rotation.grid, rotation.split, False, heads, 0, EPS)
            ready = norm_operator.forward(*arguments)
            norm_operator.backward(ready, *arguments)
            sides.append((ready, [None] * 3, []))
    (q, q_tables, q_place), (k, k_tables, k_place) = sides
    v, residual = (_split(inputs[f"{direction}_{name}"], heads) for name in ("v", "residual"))
    forward: Any = attention_forward  # of any number of arguments: they come in groups
    backward: Any = attention_backward
    scale, padding = inputs["scale"], (None, None, None)
    common = (*q_tables, *k_tables, q_place, k_place, EPS)
    out, lse, attended, *rms = forward(q, k, v, *padding, residual, scale, *common, False, True)
    backward(out, None, attended, lse, *rms, q, k, v, *padding, scale, *common)
