"""What a kernel tells about itself, once, to tests, the ahead-of-time check and the benchmark."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal

import torch

from kernels.cases import Case, ShapeT, Tolerance
from kernels.tuning import Key, Tunable

Pass = Literal["forward", "forward_backward"]
Inputs = dict[str, torch.Tensor]
Outputs = tuple[torch.Tensor, ...]
Function = Callable[[Inputs], Outputs]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a pass cannot do without.

    Attributes
    ----------
    num_bytes : read and written once, each tensor that must be.
    num_flops : of matrix products (a multiply and an add are two); 0 where none is needed.
    """

    num_bytes: int
    num_flops: int = 0


class Subject(abc.ABC, Generic[ShapeT]):
    """One operator under test."""

    operator: str
    cases: Sequence[Case[ShapeT]]
    tunables: Sequence[Tunable]

    @abc.abstractmethod
    def inputs(self, case: Case[ShapeT], device: torch.device, generator: torch.Generator | None) -> Inputs:
        """Tensors by name, in the case's dtype; those that get a gradient require it. No generator: not filled."""

    @abc.abstractmethod
    def ours(self, case: Case[ShapeT]) -> Function:
        """The operator with its Triton kernels forced."""

    @abc.abstractmethod
    def reference(self, case: Case[ShapeT]) -> Function:
        """The same in plain PyTorch, in the dtype of its inputs; exact enough in float32 to be held to."""

    @abc.abstractmethod
    def launch(self, case: Case[ShapeT], inputs: Inputs) -> None:
        """Launches every kernel of forward and backward on `inputs`, which may lie on the meta device."""

    @abc.abstractmethod
    def cost(self, case: Case[ShapeT], which: Pass) -> Cost:
        """The least that the pass must move and multiply."""

    @abc.abstractmethod
    def key(self, case: Case[ShapeT]) -> Key:
        """Under which the case's configurations are kept."""

    @abc.abstractmethod
    def tolerances(self, case: Case[ShapeT]) -> Mapping[str, Tolerance]:
        """By name: "output" (or "output0", "output1", ...), and "grad_<input>" for every input with a gradient."""

    def contenders(self, case: Case[ShapeT]) -> Mapping[str, Function]:
        """What the benchmark sets beside ours: the reference as it stands, and compiled; more where more exists."""
        reference = self.reference(case)
        return {"eager": reference, "torch.compile": torch.compile(reference, dynamic=False)}

    def case(self, name: str) -> Case[ShapeT]:
        """The case of that name.

        Raises
        ------
        KeyError : if there is none; the message lists those that there are.
        """
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(f"{self.operator} has no case {name!r}, only {', '.join(case.name for case in self.cases)}")


def random_normal(
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator | None,
    *,
    mean: float = 0.0,
    requires_grad: bool = False,
) -> torch.Tensor:
    """A leaf drawn from N(mean, 1) in float32 and rounded; without a generator its memory as it is."""
    if generator is None:
        values = torch.empty(tuple(shape), dtype=dtype, device=device)
    else:
        values = torch.randn(tuple(shape), device=device, generator=generator).add_(mean).to(dtype)
    return values.requires_grad_(requires_grad)
