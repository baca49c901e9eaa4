"""The small cases of every kernel: outputs and all gradients against the float32 reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.cases import Case
from kernels.subject import Subject
from kernels.subjects import SUBJECTS
from kernels.testing import compare, device_under_test, surrounded, with_gradients

SMALL = [(subject, case) for subject in SUBJECTS.values() for case in subject.cases if case.small]
EVERY_SMALL_CASE = pytest.mark.parametrize(
    ("subject", "case"),
    [
        pytest.param(
            *pair, id=f"{pair[0].operator}-{pair[1].name}", marks=[pytest.mark.slow] if pair[1].exhaustive else []
        )
        for pair in SMALL
    ],
)


def drawn(subject: Subject[Any], case: Case[Any]) -> dict[str, torch.Tensor]:
    generator = torch.Generator(device_under_test()).manual_seed(4)
    inputs = subject.inputs(case, device_under_test(), generator)
    return {name: surrounded(value) for name, value in inputs.items()}


@EVERY_SMALL_CASE
def test_outputs_and_all_gradients_are_the_references(subject: Subject[Any], case: Case[Any]) -> None:
    errors = compare(subject, case, drawn(subject, case), torch.Generator(device_under_test()).manual_seed(5))
    assert len(errors) > sum(value.requires_grad for value in drawn(subject, case).values())
    assert not [str(error) for error in errors if not error.holds]


@EVERY_SMALL_CASE
def test_results_are_the_same_from_run_to_run(subject: Subject[Any], case: Case[Any]) -> None:
    inputs = drawn(subject, case)
    shapes = subject.reference(case)(inputs)
    grads = [torch.ones_like(out) if out.requires_grad else None for out in shapes]
    first, second = (with_gradients(subject.ours(case), inputs, grads) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("subject", "case"), [pair for pair in SMALL if pair[1].dtype == torch.float32])
def test_the_reference_compiles_to_one_graph(subject: Subject[Any], case: Case[Any]) -> None:
    """It is what the benchmark sets beside ours: a break or a fall back to eager would flatter us."""
    torch.compiler.reset()
    reference = subject.reference(case)
    compiled = torch.compile(reference, backend="aot_eager", dynamic=False, fullgraph=True)
    inputs = drawn(subject, case)
    for found, expected in zip(compiled(inputs), reference(inputs), strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_cases_have_names_of_their_own_and_cover_both_sizes(subject: Subject[Any]) -> None:
    names = [case.name for case in subject.cases]
    assert len(set(names)) == len(names)
    assert {case.operator for case in subject.cases} == {subject.operator}
    assert any("360p" in name for name in names)
    assert any("720p" in name for name in names)
    assert any(case.representative for case in subject.cases)
