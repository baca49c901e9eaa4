"""RMSNorm and rotation in one kernel: any shape, any layout, traced and differentiated; bad shapes refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.aligned_rope import norm_rotate, rotation_from_angles
from kernels.aligned_rope.operator import norm_rotate_backward_op, norm_rotate_op
from kernels.aligned_rope.rotation import Rotation
from kernels.aligned_rope.subject import NormRotate
from kernels.cases import Case, Layout, NormRotateShape
from kernels.testing import compare, device_under_test, surrounded

DEVICE = device_under_test()


@st.composite
def shapes(draw: Callable[..., int]) -> NormRotateShape:
    grid = tuple(draw(st.integers(1, 4)) for _ in range(3))
    split = (draw(st.integers(1, 5)), *(draw(st.sampled_from([(0, 0), (1, 1), (3, 2)]))))
    num_tokens = grid[0] * grid[1] * grid[2]
    first = draw(st.integers(0, num_tokens - 1))
    return NormRotateShape(
        batch=draw(st.integers(1, 3)),
        grid=grid,  # type: ignore[arg-type]  # three integers
        num_heads=draw(st.integers(1, 5)),
        head_dim=2 * sum(split),
        split=split,
        layout=draw(st.sampled_from(["halves", "interleaved"])),
        first_token=first,
        num_tokens=draw(st.integers(1, num_tokens - first)),
    )


DRAWN = given(shape=shapes(), dtype=st.sampled_from([torch.float32, torch.float16]), seed=st.integers(0, 1000))


@settings(max_examples=6, deadline=None)
@DRAWN
def test_a_few_shapes_give_the_references_output_and_gradients(
    shape: NormRotateShape, dtype: torch.dtype, seed: int
) -> None:
    check(shape, dtype, seed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@DRAWN
def test_many_shapes_give_the_references_output_and_gradients(
    shape: NormRotateShape, dtype: torch.dtype, seed: int
) -> None:
    check(shape, dtype, seed)


def check(shape: NormRotateShape, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    subject, case = NormRotate(), Case("norm_rotate", "drawn", shape, dtype, small=True)
    inputs = {name: surrounded(value) for name, value in subject.inputs(case, DEVICE, generator).items()}
    assert not [str(error) for error in compare(subject, case, inputs, generator) if not error.holds]


@pytest.fixture
def arguments() -> tuple[object, ...]:
    rotation = rotation_from_angles((torch.arange(12.0).view(3, 4),), (3, 2, 1), "halves")
    x = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(0)).to(DEVICE).requires_grad_()
    weight = torch.linspace(0.5, 1.5, 24, device=DEVICE).requires_grad_()
    tables = rotation.cos.to(DEVICE), rotation.sin.to(DEVICE)
    return x, weight, *tables, rotation.grid, rotation.split, False, 3, 0, 1e-6


def test_the_operators_keep_pytorchs_contract(arguments: tuple[object, ...]) -> None:
    torch.library.opcheck(norm_rotate_op, arguments)
    grad = torch.ones(2, 6, 3, 8, device=DEVICE)
    detached = [value.detach() if isinstance(value, torch.Tensor) else value for value in arguments]
    torch.library.opcheck(norm_rotate_backward_op, (grad, *detached))


def test_tracing_meets_one_graph() -> None:
    def attend(x: torch.Tensor, weight: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        rotation = Rotation(cos, sin, (3, 2, 1), (4, 0, 0), "halves")
        return norm_rotate(2 * x, weight, rotation, num_heads=3, eps=1e-6, backend="triton").sum(dim=1)

    x, weight, table = (torch.ones(shape, device=DEVICE) for shape in ((2, 6, 24), (24,), (3, 4)))
    with torch.no_grad():
        explained = torch._dynamo.explain(attend)(x, weight, table, table)
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1


def test_a_part_of_a_clip_is_turned_as_in_the_whole() -> None:
    rotation = rotation_from_angles((torch.arange(12.0).view(3, 4),), (3, 2, 1), "interleaved", device=DEVICE)
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    weight = torch.ones(8, device=DEVICE)
    for backend in ("reference", "triton"):
        whole = norm_rotate(x, weight, rotation, num_heads=1, eps=1e-6, backend=backend)  # type: ignore[arg-type]  # a literal
        part = norm_rotate(
            x[:, 2:5],
            weight,
            rotation,
            num_heads=1,
            eps=1e-6,
            first_token=2,
            backend=backend,  # type: ignore[arg-type]  # a literal
        )
        torch.testing.assert_close(part, whole[:, 2:5])


def test_known_answer_of_both_layouts() -> None:
    """A quarter turn takes the first of a pair to the second; the norm of (1, 0, 0, 0) makes 1 into 2."""
    for layout, place in (("halves", 2), ("interleaved", 1)):
        rotation = rotation_from_angles((torch.full((1, 2), torch.pi / 2),), (1, 1, 1), layout, device=DEVICE)  # type: ignore[arg-type]  # a literal
        x = torch.tensor([[[1.0, 0, 0, 0]]], device=DEVICE)
        for backend in ("reference", "triton"):
            y = norm_rotate(x, torch.ones_like(x[0, 0]), rotation, num_heads=1, eps=0.0, backend=backend)  # type: ignore[arg-type]  # a literal
            expected = torch.zeros(4)
            expected[place] = 2
            torch.testing.assert_close(y[0, 0, 0].cpu(), expected)


def test_axes_turn_their_own_pairs() -> None:
    axes = (torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[0.0], [8.0]]))
    rotation = rotation_from_angles(axes, (2, 3, 2), "interleaved", torch.float64)
    cos, sin = rotation.by_token
    angles = torch.stack([torch.tensor([f, 2.0 * r, 8.0 * c]) for f in range(2) for r in range(3) for c in range(2)])
    torch.testing.assert_close(cos, angles.cos().double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(sin, angles.sin().double(), atol=1e-6, rtol=0)
    assert rotation.cos.shape == (7, 3)


def test_shapes_that_do_not_fit_are_refused_with_both_numbers() -> None:
    rotation = rotation_from_angles((torch.zeros(3, 4),), (3, 2, 1), "halves")
    x, weight = torch.ones(1, 6, 16), torch.ones(16)
    call = dataclasses.replace  # rotations are immutable; a wrong one is refused when it is made
    with pytest.raises(ValueError, match=r"weight is \(8,\) and x 16 wide"):
        norm_rotate(x, torch.ones(8), rotation, num_heads=2, eps=1e-6)
    with pytest.raises(ValueError, match="16 wide, and 3 heads of 4 turning pairs each are 24"):
        norm_rotate(x, weight, rotation, num_heads=3, eps=1e-6)
    with pytest.raises(ValueError, match=r"tokens 1 to 7 of a grid \(3, 2, 1\) of 6"):
        norm_rotate(x, weight, rotation, num_heads=2, eps=1e-6, first_token=1)
    with pytest.raises(ValueError, match=r"tables of \(3, 4\).*expected both \(4, 4\)"):
        call(rotation, grid=(4, 1, 1))
    with pytest.raises(ValueError, match="2 axes, expected 3"):
        norm_rotate(x[0], weight, rotation, num_heads=2, eps=1e-6)


@pytest.mark.parametrize("layout", ["halves", "interleaved"])
def test_the_reference_has_the_formulas_output_and_gradients(layout: Layout) -> None:
    """Its eager path has passes and a gradient of its own; a compiler gets the formula as it is written."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 6, 24, generator=generator, dtype=torch.float64) for _ in range(2))
    weight, angles = torch.rand(24, generator=generator, dtype=torch.float64), torch.rand(3, 4, generator=generator)
    rotation = rotation_from_angles((angles.double(),), (3, 2, 1), layout, torch.float64)
    leaves = x.requires_grad_(), weight.requires_grad_()

    def run() -> tuple[torch.Tensor, ...]:
        y = norm_rotate(x, weight, rotation, num_heads=3, eps=1e-6)
        return y, *torch.autograd.grad(y, leaves, grad.view(y.shape))

    eager = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        formula = run()
    for found, expected in zip(eager, formula, strict=True):
        torch.testing.assert_close(found, expected)
