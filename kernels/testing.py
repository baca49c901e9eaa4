"""Correctness: ours against the reference in float32, on memory that would show a stray read or write."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from kernels.cases import Case, Tolerance
from kernels.launch import allocating_with, interpreting
from kernels.subject import Function, Inputs, Subject

GUARD = 256
"""Values before and after a guarded allocation: as many bytes as alignment asks for, and more than a masked tail."""


@dataclasses.dataclass(frozen=True)
class Error:
    """How far a result lies from its reference; see `kernels.cases.Tolerance` for the two measures."""

    name: str
    mean: float
    largest: float
    allowed: Tolerance

    @property
    def holds(self) -> bool:
        """Whether both measures are allowed; a NaN is not."""
        return self.mean <= self.allowed.mean and self.largest <= self.allowed.largest

    def __str__(self) -> str:
        return (
            f"{self.name}: mean error {self.mean:.2e} (allowed {self.allowed.mean:.2e}), "
            f"largest {self.largest:.2e} (allowed {self.allowed.largest:.2e})"
        )


def compare(subject: Subject[Any], case: Case[Any], inputs: Inputs, generator: torch.Generator) -> list[Error]:
    """Errors of ours in every output and every gradient, against the reference on the same inputs in float32.

    All outputs get a random gradient. Inputs are read by both as they were rounded to the case's dtype.

    Raises
    ------
    AssertionError : if a kernel wrote outside what it allocated.
    """
    wide = {
        name: value.detach().to(torch.promote_types(value.dtype, torch.float32)).requires_grad_(value.requires_grad)
        if value.is_floating_point()
        else value
        for name, value in inputs.items()
    }
    expected = subject.reference(case)(wide)
    grads = [
        torch.randn(out.shape, device=out.device, generator=generator).to(case.dtype) if out.requires_grad else None
        for out in expected
    ]
    with guarded_allocations():
        found = with_gradients(subject.ours(case), inputs, grads)
    wanted = _gradients(expected, wide, [None if grad is None else grad.float() for grad in grads])
    allowed = subject.tolerances(case)
    return [error(name, found[name], wanted[name], allowed[name]) for name in wanted]


def with_gradients(function: Function, inputs: Inputs, grads: Sequence[torch.Tensor | None]) -> dict[str, torch.Tensor]:
    """Outputs ("output", or "output0", ...) and gradients ("grad_<input>") of a function."""
    return _gradients(function(inputs), inputs, grads)


def _gradients(
    outputs: Sequence[torch.Tensor], inputs: Inputs, grads: Sequence[torch.Tensor | None]
) -> dict[str, torch.Tensor]:
    names = ["output"] if len(outputs) == 1 else [f"output{index}" for index in range(len(outputs))]
    leaves = {name: value for name, value in inputs.items() if value.requires_grad}
    pairs = [(out, grad.to(out.dtype)) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
    taken = torch.autograd.grad([out for out, _ in pairs], list(leaves.values()), [grad for _, grad in pairs])
    return {
        **{name: out.detach() for name, out in zip(names, outputs, strict=True)},
        **{f"grad_{name}": grad for name, grad in zip(leaves, taken, strict=True)},
    }


def error(name: str, found: torch.Tensor, wanted: torch.Tensor, allowed: Tolerance) -> Error:
    """Both error measures of one tensor.

    Raises
    ------
    ValueError : if the shapes differ.
    """
    if found.shape != wanted.shape:
        raise ValueError(f"{name} is {tuple(found.shape)}, its reference {tuple(wanted.shape)}; expected them equal")
    difference = found.to(wanted.dtype) - wanted
    tiny = torch.finfo(wanted.dtype).tiny
    mean = difference.norm() / wanted.norm().clamp(min=tiny)
    largest = difference.abs().max() / wanted.abs().max().clamp(min=tiny)
    return Error(name, mean.item(), largest.item(), allowed)


@contextlib.contextmanager
def guarded_allocations() -> Iterator[None]:
    """Within, kernels get memory full of NaN between guards of NaN, which are looked at on leaving.

    Raises
    ------
    AssertionError : if a kernel wrote into a guard.
    """
    guarded: list[tuple[torch.Tensor, int]] = []

    def allocate(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        whole, inner = _inside_nan(shape, dtype, device)
        guarded.append((whole, inner.numel()))
        return inner

    with allocating_with(allocate):
        yield
    for whole, count in guarded:
        edges = torch.cat((whole[:GUARD], whole[GUARD + count :]))
        if not edges.isnan().all():
            raise AssertionError(f"a kernel wrote outside of its {count} {whole.dtype} values")


def surrounded(values: torch.Tensor) -> torch.Tensor:
    """A copy of `values` with NaN before and behind it, so that a stray read shows in what is made of it.

    Masks and lengths, which have no NaN, come back as they are.
    """
    if not values.is_floating_point():
        return values
    _, inner = _inside_nan(tuple(values.shape), values.dtype, values.device)
    inner.copy_(values.detach())
    return inner.requires_grad_(values.requires_grad)


def _inside_nan(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    count = torch.Size(shape).numel()
    whole = torch.full((count + 2 * GUARD,), float("nan"), dtype=dtype, device=device)
    return whole, whole[GUARD : GUARD + count].view(shape)


def device_under_test() -> torch.device:
    """Where kernels are tested: on the CPU if they are interpreted, else on the GPU."""
    return torch.device("cpu" if interpreting() else "cuda")
