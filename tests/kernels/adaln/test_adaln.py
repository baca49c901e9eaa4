"""Adaptive layer norm and gated residual: any shape, traced and differentiated; bad shapes refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.adaln import gated_residual, modulated_norm
from kernels.adaln.norm_operator import modulated_norm_backward_op, modulated_norm_op
from kernels.adaln.residual_operator import gated_residual_backward_op, gated_residual_op
from kernels.adaln.subject import GatedResidual, ModulatedNorm
from kernels.cases import AdaLNShape, Case
from kernels.subject import Subject
from kernels.testing import compare, device_under_test, surrounded

DEVICE = device_under_test()
SUBJECTS: tuple[Subject[AdaLNShape], ...] = (ModulatedNorm(), GatedResidual())


@st.composite
def shapes(draw: Callable[..., Any]) -> AdaLNShape:
    """Eight channels or more: the norm of two is +-1 whatever they are, and its gradient nothing but rounding."""
    return AdaLNShape(
        draw(st.integers(1, 3)), draw(st.integers(1, 21)), draw(st.integers(8, 40)), per_token=draw(st.booleans())
    )


DRAWN = given(
    shape=shapes(),
    subject=st.sampled_from(SUBJECTS),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=6, deadline=None)
@DRAWN
def test_a_few_shapes_give_the_references_output_and_gradients(
    shape: AdaLNShape, subject: Subject[AdaLNShape], dtype: torch.dtype, seed: int
) -> None:
    check(shape, subject, dtype, seed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@DRAWN
def test_many_shapes_give_the_references_output_and_gradients(
    shape: AdaLNShape, subject: Subject[AdaLNShape], dtype: torch.dtype, seed: int
) -> None:
    check(shape, subject, dtype, seed)


def check(shape: AdaLNShape, subject: Subject[AdaLNShape], dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    case = Case(subject.operator, "drawn", shape, dtype, small=True)
    inputs = {name: surrounded(value) for name, value in subject.inputs(case, DEVICE, generator).items()}
    assert not [str(error) for error in compare(subject, case, inputs, generator) if not error.holds]


def tokens(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(2, rows, 6, generator=torch.Generator().manual_seed(seed)).to(DEVICE).requires_grad_()


@pytest.mark.parametrize("rows", [1, 3])
def test_the_operators_keep_pytorchs_contract(rows: int) -> None:
    x, branch, shift, scale = tokens(3, 0), tokens(3, 1), tokens(rows, 2), tokens(rows, 3)
    torch.library.opcheck(modulated_norm_op, (x, shift, scale, 1e-6))
    torch.library.opcheck(modulated_norm_backward_op, (branch.detach(), x.detach(), scale.detach(), 1e-6))
    torch.library.opcheck(gated_residual_op, (x, branch, scale))
    torch.library.opcheck(gated_residual_backward_op, (x.detach(), branch.detach(), scale.detach()))


def test_a_part_of_all_modulations_for_the_whole_batch_is_read_where_it_lies() -> None:
    """As a block does: six rows in one tensor, one sample of it for all."""
    x, branch = tokens(3, 0), tokens(3, 1)
    rows = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(2)).to(DEVICE).requires_grad_()
    results = []
    for backend in ("reference", "triton"):
        shift, scale, gate, *_ = rows.chunk(6, dim=1)
        y = modulated_norm(x, shift, scale, eps=1e-6, backend=backend)  # type: ignore[arg-type]  # a literal
        y = gated_residual(y, branch, gate, backend=backend)  # type: ignore[arg-type]  # a literal
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, branch, rows))))
    for found, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_narrower_branch_is_added_in_the_tokens_dtype() -> None:
    x, branch, gate = tokens(3, 0), tokens(3, 1).half(), tokens(1, 2)
    y = gated_residual(x, branch, gate, backend="triton")
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, x + branch.float() * gate)


def test_tracing_meets_one_graph() -> None:
    def block(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return gated_residual(x, modulated_norm(x, shift, scale, eps=1e-6, backend="triton"), scale, backend="triton")

    with torch.no_grad():
        x, row = torch.ones(2, 3, 6, device=DEVICE), torch.ones(2, 1, 6, device=DEVICE)
        explained = torch._dynamo.explain(block)(x, row, row)
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1


def test_shapes_that_do_not_fit_are_refused_with_both_numbers() -> None:
    x = torch.ones(2, 3, 6)
    with pytest.raises(ValueError, match=r"scale is \(2, 2, 6\) and x \(2, 3, 6\).*\(2 or 1, 3 or 1, 6\)"):
        modulated_norm(x, torch.ones(2, 1, 6), torch.ones(2, 2, 6), eps=1e-6)
    with pytest.raises(ValueError, match="shift has 1 rows a sample and scale 3"):
        modulated_norm(x, torch.ones(2, 1, 6), torch.ones(2, 3, 6), eps=1e-6)
    with pytest.raises(ValueError, match=r"branch is \(2, 1, 6\) and x \(2, 3, 6\)"):
        gated_residual(x, torch.ones(2, 1, 6), torch.ones(2, 1, 6))
    with pytest.raises(ValueError, match=r"gate is \(3, 1, 6\)"):
        gated_residual(x, x, torch.ones(3, 1, 6))
    with pytest.raises(ValueError, match=r"x is \(3, 6\)"):
        gated_residual(x[0], x[0], torch.ones(1, 1, 6))


@pytest.mark.parametrize("rows", [(1, 1), (2, 1), (2, 5)])
def test_the_reference_is_the_norm_then_the_modulation(rows: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 8, generator=generator)
    shift, scale = torch.randn(2, *rows, 8, generator=generator)
    expected = torch.nn.functional.layer_norm(x, (8,), eps=1e-6) * (1 + scale) + shift
    torch.testing.assert_close(modulated_norm(x, shift, scale, eps=1e-6, backend="reference"), expected)
