"""One direction of the Bridge's attention, as tests and benchmark see it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from kernels.bridge_attention import bridge_attention, configurations, launches
from kernels.cases import BRIDGE_ATTENTION, BridgeAttentionShape, Case, Tolerance, tolerance
from kernels.subject import Cost, Function, Inputs, Pass, Subject, random_normal
from kernels.tuning import Key

AttentionCase = Case[BridgeAttentionShape]
Attention = Callable[..., torch.Tensor]
"""Of q, k and v, and of a mask `[b, 1, 1, k]` of keys that count where some do not."""

FORWARD_PRODUCTS = 2
"""Scores, and values by probabilities."""
BACKWARD_PRODUCTS = 5
"""Scores again, dout by values, and one each for the gradients of queries, keys and values."""


class BridgeAttention(Subject[BridgeAttentionShape]):
    """softmax(q k) v with what may be added to it."""

    operator = "bridge_attention"
    cases = BRIDGE_ATTENTION
    tunables = (
        configurations.FORWARD,
        configurations.QUERY_GRADIENT,
        configurations.KEY_GRADIENT,
        configurations.MERGE,
        configurations.DELTA,
    )

    def inputs(self, case: AttentionCase, device: torch.device, generator: torch.Generator | None) -> Inputs:
        shape = case.shape
        tail = (shape.num_heads, shape.head_dim)
        lengths = {"q": shape.num_queries, "k": shape.num_keys, "v": shape.num_keys}
        inputs = {
            name: random_normal((shape.batch, length, *tail), case.dtype, device, generator, requires_grad=True)
            for name, length in lengths.items()
        }
        if shape.added:
            inputs["residual"] = random_normal(inputs["q"].shape, case.dtype, device, generator, requires_grad=True)
            inputs["scale"] = random_normal((1,), torch.float32, device, generator, mean=1.0, requires_grad=True)
        if shape.padded:
            inputs |= draw_padding(shape, device, generator)
        return inputs

    def ours(self, case: AttentionCase) -> Function:
        return lambda inputs: (bridge_attention(*_heads(inputs), "triton", **_options(inputs)),)

    def reference(self, case: AttentionCase) -> Function:
        return lambda inputs: (bridge_attention(*_heads(inputs), "reference", **_options(inputs)),)

    def launch(self, case: AttentionCase, inputs: Inputs) -> None:
        described = launches.Inputs(
            *_heads(inputs), inputs.get("key_mask"), inputs.get("key_lengths"), inputs.get("query_lengths")
        )
        added, scale = case.shape.added, inputs.get("scale")
        out, lse, attended = launches.forward(
            described, inputs.get("residual"), scale, out_dtype=case.dtype, keep_attended=added
        )
        launches.backward(described, scale, out if attended is None else attended, lse, out, None)

    def cost(self, case: AttentionCase, which: Pass) -> Cost:
        shape = case.shape
        return attention_cost(
            shape.batch, shape.num_queries, shape.num_keys, shape.num_heads * shape.head_dim, case.dtype, which,
            added=shape.added,
        )  # fmt: skip

    def key(self, case: AttentionCase) -> Key:
        shape = case.shape
        return configurations.key(shape.num_heads, shape.head_dim, "neither", case.dtype)

    def tolerances(self, case: AttentionCase) -> Mapping[str, Tolerance]:
        """Probabilities and results are rounded; gradients of scores too, and they contain the rounded output.

        The scale's gradient sums products with that output, of both signs: 92 draws in 100 come to more than a tenth
        of what independent terms come to, so its two roundings weigh up to ten times as much.
        """
        shape = case.shape
        terms = shape.head_dim + shape.num_keys + shape.num_queries
        return {
            "output": tolerance(case.dtype, terms=terms, roundings=2),
            "grad_q": tolerance(case.dtype, terms=terms, roundings=3),
            "grad_k": tolerance(case.dtype, terms=terms, roundings=3),
            "grad_v": tolerance(case.dtype, terms=terms, roundings=2),
            "grad_residual": tolerance(case.dtype, terms=1),
            "grad_scale": tolerance(case.dtype, terms=terms * shape.head_dim, roundings=20),
        }

    def contenders(self, case: AttentionCase) -> Mapping[str, Function]:
        """PyTorch's fused attention on every backend, and FlexAttention, with padding, scale and residual around it."""

        def around(attention: Attention) -> Function:
            def run(inputs: Inputs) -> tuple[torch.Tensor, ...]:
                heads = _heads(inputs)
                if case.shape.padded:
                    asks_bq, counts_bk = _counting(inputs)
                    attended = attention(*heads, counts_bk[:, None, None])
                    attended = attended.masked_fill(~asks_bq[:, :, None, None], 0)
                else:
                    attended = attention(*heads)
                if "scale" in inputs:
                    attended = inputs["residual"] + (attended * inputs["scale"]).to(attended.dtype)
                return (attended,)

            return run

        return {name: around(attention) for name, attention in attentions().items()}


def attention_cost(
    batch: int, queries: int, keys: int, width: int, dtype: torch.dtype, which: Pass, *, added: bool
) -> Cost:
    """Matrix products of the pass; queries, keys, values, output, residual and their gradients, each moved once."""
    product = 2 * batch * queries * keys * width
    long, short = (batch * length * width * dtype.itemsize for length in (queries, keys))
    forward = Cost(num_bytes=(3 if added else 2) * long + 2 * short, num_flops=FORWARD_PRODUCTS * product)
    if which == "forward":
        return forward
    # q, output and its gradient are read and dq is written; k and v are read, dk and dv written.
    return Cost(
        num_bytes=forward.num_bytes + 4 * long + 4 * short,
        num_flops=forward.num_flops + BACKWARD_PRODUCTS * product,
    )


def draw_padding(shape: BridgeAttentionShape, device: torch.device, generator: torch.Generator | None) -> Inputs:
    """A mask that drops a tenth of the keys, and lengths that differ; the last sample has half of its keys."""
    counts = (shape.batch, shape.num_keys)
    if generator is None:
        mask = torch.empty(counts, dtype=torch.bool, device=device)
    else:
        mask = torch.rand(counts, device=device, generator=generator) > 0.1
    shares = torch.linspace(1.0, 0.5, shape.batch, device=device)
    return {
        "key_mask": mask,
        "key_lengths": (shares * shape.num_keys).to(torch.int32),
        "query_lengths": (shares * shape.num_queries).to(torch.int32),
    }


def attentions() -> dict[str, Attention]:
    """PyTorch's attentions on `[b, l, h, d]`: `scaled_dot_product_attention` backend by backend, and FlexAttention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def fused(backend: SDPBackend) -> Attention:
        def attend(
            q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: torch.Tensor | None = None
        ) -> torch.Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, counts).transpose(1, 2)

        return attend

    def flexible(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
        def masked(score: torch.Tensor, sample: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
            return score if counts is None else torch.where(counts[sample, 0, 0, key], score, -math.inf)

        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out: torch.Tensor = _flex_attention()(q, k, v, None if counts is None else masked).transpose(1, 2)
        return out

    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }
    return {**{f"sdpa_{name}": fused(backend) for name, backend in backends.items()}, "flex_attention": flexible}


@functools.cache
def _flex_attention() -> Any:
    """Compiled, without which it builds the score matrix. Imported late: that takes a second and warns."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def _heads(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return inputs["q"], inputs["k"], inputs["v"]


def _counting(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Which queries `[b, q]` and which keys `[b, k]` count."""
    queries, keys = (torch.arange(inputs[name].shape[1], device=inputs[name].device) for name in ("q", "k"))
    within = inputs["key_lengths"][:, None] > keys
    return inputs["query_lengths"][:, None] > queries, inputs["key_mask"] & within


def _options(inputs: Inputs) -> dict[str, Any]:
    names = {
        "key_mask": "key_mask_bk",
        "key_lengths": "key_lengths_b",
        "query_lengths": "query_lengths_b",
        "scale": "scale",
        "residual": "residual_bqhd",
    }
    return {argument: inputs[name] for name, argument in names.items() if name in inputs}
