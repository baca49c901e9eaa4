"""Cross-attention of the Bridge: against the textbook formula, in parts, with padding; bad shapes refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.aligned_rope import Rotation
from kernels.bridge_attention import (
    Normed,
    bridge_attention,
    bridge_attention_part,
    merge_parts,
    normed_bridge_attention,
)
from kernels.bridge_attention.configurations import number_of_parts
from kernels.bridge_attention.launches import Inputs, backward, forward
from kernels.bridge_attention.operator import bridge_attention_backward_op, bridge_attention_op
from kernels.bridge_attention.reference import attend_in_strips
from kernels.bridge_attention.subject import BridgeAttention, attentions
from kernels.cases import BridgeAttentionShape, Case
from kernels.dispatch import KernelUnavailable, Request
from kernels.launch import allocating_with, recording
from kernels.testing import compare, device_under_test, surrounded

DEVICE = device_under_test()


def drawn(*shapes: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).to(DEVICE).requires_grad_() for shape in shapes]


def textbook(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Of one head of one sample."""
    weights = (q @ k.T / math.sqrt(q.shape[1])).exp()
    return weights / weights.sum(dim=1, keepdim=True) @ v


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize(("queries", "keys"), [(7, 3), (3, 7), (1, 1)])
def test_equals_softmax_of_scaled_products(queries: int, keys: int, backend: Request) -> None:
    q, k, v = drawn((2, queries, 2, 4), (2, keys, 2, 4), (2, keys, 2, 4))
    with torch.no_grad():
        out = bridge_attention(q, k, v, backend)
    for sample in range(2):
        for head in range(2):
            at = (sample, slice(None), head)
            torch.testing.assert_close(out[at], textbook(q[at], k[at], v[at]))


@st.composite
def shapes(draw: Callable[..., Any]) -> BridgeAttentionShape:
    return BridgeAttentionShape(
        batch=draw(st.integers(1, 2)),
        num_queries=draw(st.integers(1, 70)),
        num_keys=draw(st.integers(2, 70)),
        num_heads=1,
        head_dim=2 * draw(st.integers(1, 20)),
        padded=draw(st.booleans()),
        added=draw(st.booleans()),
    )


def check_drawn(shape: BridgeAttentionShape, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    subject, case = BridgeAttention(), Case("bridge_attention", "drawn", shape, dtype, small=True)
    inputs = {name: surrounded(value) for name, value in subject.inputs(case, DEVICE, generator).items()}
    # The scale's gradient is a sum that may cancel; cases of fixed seeds hold it.
    errors = [error for error in compare(subject, case, inputs, generator) if error.name != "grad_scale"]
    assert not [str(error) for error in errors if not error.holds]


@settings(max_examples=3, deadline=None, derandomize=True)
@given(shape=shapes(), dtype=st.sampled_from([torch.float32, torch.float16]), seed=st.integers(0, 1000))
def test_any_shape_gives_the_references_output_and_gradients(
    shape: BridgeAttentionShape, dtype: torch.dtype, seed: int
) -> None:
    check_drawn(shape, dtype, seed)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(shape=shapes(), dtype=st.sampled_from([torch.float32, torch.float16]), seed=st.integers(0, 1000))
def test_many_more_shapes_give_the_references_output_and_gradients(
    shape: BridgeAttentionShape, dtype: torch.dtype, seed: int
) -> None:
    check_drawn(shape, dtype, seed)


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_parts_that_were_computed_apart_merge_to_the_whole_with_its_gradients(backend: Request) -> None:
    """As in a ring: every process has some keys, one of them none that counts."""
    tensors = drawn((1, 9, 1, 16), (1, 21, 1, 16), (1, 21, 1, 16), seed=3)
    q, k, v = tensors
    none = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    parts = [
        bridge_attention_part(q, k[:, :8], v[:, :8], backend),
        bridge_attention_part(q, k[:, :5], v[:, :5], backend, key_lengths_b=none),
        bridge_attention_part(q, k[:, 8:], v[:, 8:], backend),
    ]
    whole = bridge_attention_part(q, k, v, "reference")
    merged = merge_parts(torch.stack([out for out, _ in parts]), torch.stack([lse for _, lse in parts]))
    gradients = [
        torch.autograd.grad(out.sin().sum() + lse.cos().sum(), tensors) for out, lse in (merged, whole)
    ]  # both results carry a gradient
    torch.testing.assert_close(merged, whole, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=5e-6, rtol=1e-5)


def test_merging_no_keys_at_all_gives_nothing() -> None:
    out, lse = merge_parts(torch.zeros(2, 1, 3, 1, 4), torch.full((2, 1, 1, 3), float("-inf")))
    assert not out.any()
    assert lse.isneginf().all()


@pytest.mark.parametrize("num_parts", [2, 3])
def test_cutting_a_sequence_in_parts_changes_no_result(num_parts: int) -> None:
    """Keys for the output and the queries' gradient, queries for the keys'; the last part of three is empty."""
    q, k, v, residual, gradient = (x.detach() for x in drawn(*[(1, 40, 1, 16)] * 5, seed=5))
    scale = torch.tensor([0.5], device=DEVICE)
    inputs = Inputs(q, k, v)
    results = []
    for parts in (1, num_parts):
        out, lse, attended = forward(inputs, residual, scale, out_dtype=q.dtype, keep_attended=True, num_parts=parts)
        assert attended is not None
        results.append((out, lse, attended, *backward(inputs, scale, attended, lse, gradient, None, num_parts=parts)))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_what_does_not_count_may_hold_anything() -> None:
    """Masked keys, and tokens behind the lengths, are NaN: nothing of them shows, and they get no gradient."""
    q, k, v, residual = (x.detach() for x in drawn((2, 6, 1, 4), (2, 9, 1, 4), (2, 9, 1, 4), (2, 6, 1, 4)))
    mask = torch.ones(2, 9, dtype=torch.bool, device=DEVICE)
    mask[0, 3] = False
    key_lengths, query_lengths = torch.tensor([9, 5], device=DEVICE), torch.tensor([6, 4], device=DEVICE)
    q[1, 4:], k[0, 3], v[0, 3], k[1, 5:], v[1, 5:] = (float("nan"),) * 5
    for tensor in (q, k, v):
        tensor.requires_grad_()
    for backend in ("reference", "triton"):
        out = bridge_attention(
            q, k, v, backend, key_mask_bk=mask, key_lengths_b=key_lengths, query_lengths_b=query_lengths,
            residual_bqhd=residual,
        )  # fmt: skip
        q_grad, k_grad, v_grad = torch.autograd.grad(out.square().sum(), (q, k, v))
        expected = textbook(q[1, :4, 0], k[1, :5, 0], v[1, :5, 0]) + residual[1, :4, 0]
        torch.testing.assert_close(out[1, :4, 0], expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(out[1, 4:], residual[1, 4:])
        assert not q_grad[1, 4:].any()
        assert not torch.cat((k_grad[0, 3], v_grad[0, 3], k_grad[1, 5:].flatten(0, 1))).any()
        assert torch.cat((q_grad[1, :4], k_grad[1, :5], v_grad[0, :3])).isfinite().all()


def test_the_operators_keep_pytorchs_contract() -> None:
    q, k, v, residual = drawn((1, 5, 1, 4), (1, 3, 1, 4), (1, 3, 1, 4), (1, 5, 1, 4))
    scale = torch.tensor([0.5], device=DEVICE, requires_grad=True)
    padding, tables, rest = (None,) * 3, (None,) * 6, ([], [], 0.0)
    arguments = (q, k, v, *padding, residual, scale, *tables, *rest, False, True)
    torch.library.opcheck(bridge_attention_op, arguments)
    with torch.no_grad():
        out, lse, attended, *rms = bridge_attention_op(*arguments)
    gradient = torch.ones_like(out)
    tensors = [x.detach() for x in (gradient, torch.zeros_like(lse), attended, lse, *rms, q, k, v)]
    torch.library.opcheck(
        bridge_attention_backward_op,
        (*tensors, *padding, scale.detach(), *tables, *rest),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_tracing_meets_one_graph() -> None:
    def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return bridge_attention(2 * q, k, v, "triton", scale=0.5, residual_bqhd=q).sum(dim=1)

    with torch.no_grad():
        explained = torch._dynamo.explain(attended)(*drawn((1, 3, 1, 4), (1, 2, 1, 4), (1, 2, 1, 4)))
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1


@pytest.mark.parametrize("name", ["bridge_attention_audio_to_video_720p", "bridge_attention_video_to_audio_720p"])
def test_memory_is_linear_in_the_lengths(name: str) -> None:
    """At 720p the scores of one head alone would be 142 MB in bf16; nothing near their number is ever allocated."""
    subject = BridgeAttention()
    case = subject.case(name)
    shape, sizes = case.shape, []

    def count(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        sizes.append(math.prod(size) * dtype.itemsize)
        return torch.empty(size, dtype=dtype, device=device)

    with allocating_with(count), recording():
        subject.launch(case, subject.inputs(case, torch.device("meta"), None))
    tokens = shape.num_queries + shape.num_keys
    linear = tokens * shape.num_heads * shape.head_dim * case.dtype.itemsize
    scores = shape.num_queries * shape.num_keys * shape.num_heads * case.dtype.itemsize
    # Output, three gradients, float32 numbers a token and head; and float32 parts of what the shorter side owns.
    assert sum(sizes) < 3 * linear < scores
    assert len(sizes) >= 5


def test_the_reference_holds_a_strip_of_scores_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.bridge_attention import reference

    q, k, v = drawn((1, 50, 2, 4), (1, 8, 2, 4), (1, 8, 2, 4))
    whole = attend_in_strips(q, k, v)
    strips: list[int] = []
    strip = reference._strip

    def counted(q_bhqd: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        strips.append(q_bhqd.shape[2])
        return strip(q_bhqd, *rest)

    monkeypatch.setattr(reference, "_strip", counted)
    parts = attend_in_strips(q, k, v, scores_at_once=2 * 8 * 7)
    assert strips == [7] * 7 + [1]
    torch.testing.assert_close(parts, whole)
    with torch.no_grad():
        torch.testing.assert_close(whole[0], bridge_attention(q, k, v, "reference"))


def test_parts_fill_the_chip_and_no_more() -> None:
    programs = 132  # one on each multiprocessor
    assert number_of_parts(13480, 7, programs) == 1  # audio to video at 360p: 337 tiles of 128 queries, 40 heads
    parts = number_of_parts(48, 674, programs)  # video to audio: 4 tiles, 12 heads
    assert 48 * parts / (programs * math.ceil(48 * parts / programs)) > 0.95
    assert parts <= 8
    assert number_of_parts(48, 2757, programs) == 11  # at 720p: four waves of 132, none of them short
    assert number_of_parts(60, 2, programs) == 2  # no part without a block of its own


def test_contenders_of_the_benchmark_compute_the_same() -> None:
    q, k, v = (x.detach() for x in drawn((1, 6, 2, 16), (1, 4, 2, 16), (1, 4, 2, 16)))
    contenders = attentions()
    assert set(contenders) == {"sdpa_flash", "sdpa_cudnn", "sdpa_efficient", "sdpa_math", "flex_attention"}
    torch.testing.assert_close(contenders["sdpa_math"](q, k, v), bridge_attention(q, k, v, "reference"))
    subject = BridgeAttention()
    case = subject.case("padded_float32")
    inputs = subject.inputs(case, DEVICE, torch.Generator(DEVICE).manual_seed(1))
    found = subject.contenders(case)["sdpa_math"](inputs)
    torch.testing.assert_close(found, subject.reference(case)(inputs), atol=1e-5, rtol=1e-5)


def test_mistakes_are_refused_with_both_numbers() -> None:
    q, k, v = torch.ones(1, 2, 3, 4), torch.ones(1, 5, 3, 4), torch.ones(1, 5, 3, 4)
    wrong: list[tuple[str, tuple[torch.Tensor, ...], dict[str, Any]]] = [
        ("expected equal keys and values", (q, torch.ones(1, 5, 3, 8), torch.ones(1, 5, 3, 8)), {}),
        ("expected one dtype", (q, k.half(), v), {}),
        ("head_dim is 3, expected an even number", (q[..., :3], k[..., :3], v[..., :3]), {}),
        (r"key mask is torch.bool \(1, 4\), expected bool \(1, 5\)", (q, k, v), {"key_mask_bk": torch.ones(1, 4) > 0}),
        (r"query lengths are torch.float32 \(1,\)", (q, k, v), {"query_lengths_b": torch.ones(1)}),
        (r"scale has shape \(2,\), expected one number", (q, k, v), {"scale": torch.ones(2)}),
        (r"residual is \(1, 2, 12\), the output \(1, 2, 3, 4\)", (q, k, v), {"residual_bqhd": torch.ones(1, 2, 12)}),
    ]
    for message, tensors, options in wrong:
        with pytest.raises(ValueError, match=message):
            bridge_attention(*tensors, "triton", **options)
    with pytest.raises(ValueError, match=r"log-sum-exp of shape \(1, 1, 3\)"):
        merge_parts(torch.ones(2, 1, 3, 1, 4), torch.ones(1, 1, 3))


def test_triton_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(KernelUnavailable, match=r"bridge_attention.*need a GPU and the tensors are on cpu"):
        bridge_attention(torch.ones(1, 2, 3, 4), torch.ones(1, 5, 3, 4), torch.ones(1, 5, 3, 4), backend="triton")


def normed(x: torch.Tensor, weight: torch.Tensor, grid: tuple[int, int, int], first_token: int = 0) -> Normed:
    angles = torch.linspace(0.0, 6.0, grid[0] * 4, device=x.device).view(grid[0], 4)
    return Normed(x, weight, Rotation(angles.cos(), angles.sin(), grid, (4, 0, 0), "halves"), first_token)


def test_parts_of_a_clip_are_rotated_on_load_by_where_they_lie() -> None:
    """Tokens 5 to 11 of a clip of two a frame, as queries and as keys, whose gradients reach the norms' weights."""
    clip, values, q_weight, k_weight = drawn((2, 12, 8), (2, 7, 8), (8,), (8,))
    part, grid = clip.detach()[:, 5:].requires_grad_(), (6, 2, 1)
    results = []
    for backend in ("reference", "triton"):
        q, k = normed(part, q_weight, grid, 5), normed(part, k_weight, grid, 5)
        out = normed_bridge_attention(
            q, k, values, num_heads=1, eps=1e-6, backend=backend, norm_on_load="both"
        )  # fmt: skip
        results.append((out, *torch.autograd.grad(out.sin().sum(), (part, values, q_weight, k_weight))))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    whole = normed_bridge_attention(
        normed(clip, q_weight, grid), normed(part, k_weight, grid, 5), values,
        num_heads=1, eps=1e-6, backend="triton", norm_on_load="both",
    )  # fmt: skip
    torch.testing.assert_close(results[1][0], whole[:, 5:], atol=1e-5, rtol=1e-5)


def test_a_norm_on_load_refuses_what_does_not_fit() -> None:
    x, weight = torch.ones(1, 4, 8), torch.ones(8)

    def attend(q: Normed, **options: Any) -> None:
        normed_bridge_attention(
            q, normed(x, weight, (4, 1, 1)), x, num_heads=1, eps=1e-6, backend="triton",
            **{"norm_on_load": "queries", **options},
        )  # fmt: skip

    with pytest.raises(ValueError, match="tokens 1 to 5 of a grid of 4 tokens"):
        attend(normed(x, weight, (4, 1, 1), first_token=1))
    with pytest.raises(ValueError, match=r"weight is \(4,\) and the tokens 8 wide"):
        attend(normed(x, weight[:4], (4, 1, 1)))
    with pytest.raises(ValueError, match="norm_on_load 'values', expected one of neither, queries, keys, both"):
        attend(normed(x, weight, (4, 1, 1)), norm_on_load="values")
