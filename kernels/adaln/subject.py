"""Both operators as tests and benchmark see them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from kernels.adaln import gated_residual, modulated_norm, norm_operator, residual_operator
from kernels.adaln.reference import gated_residual_reference, modulated_norm_reference
from kernels.cases import GATED_RESIDUAL, MODULATED_NORM, AdaLNShape, Case, Tolerance, tolerance
from kernels.subject import Cost, Function, Inputs, Pass, Subject, random_normal
from kernels.tuning import Key

EPS = 1e-6

RowCase = Case[AdaLNShape]


def _tensor(case: RowCase, name: str, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
    shape = case.shape
    rows = shape.length if name in ("x", "branch") or shape.per_token else 1
    return random_normal((shape.batch, rows, shape.width), case.dtype, device, generator, requires_grad=True)


def _key(case: RowCase) -> Key:
    shape = case.shape
    by_token = shape.per_token and shape.length > 1
    return shape.width, str(case.dtype).removeprefix("torch."), "token" if by_token else "sample"


def _cost(case: RowCase, tensors: int, modulations: int) -> Cost:
    """Of whole tensors and of modulations, which count where they have a row a token."""
    shape = case.shape
    one = shape.batch * shape.length * shape.width * case.dtype.itemsize
    return Cost(num_bytes=one * (tensors + modulations * shape.per_token))


class ModulatedNorm(Subject[AdaLNShape]):
    """Layer norm without weights, scaled and shifted."""

    operator = "modulated_norm"
    cases = MODULATED_NORM
    tunables = (norm_operator.FORWARD, norm_operator.BACKWARD)

    def inputs(self, case: RowCase, device: torch.device, generator: torch.Generator | None) -> Inputs:
        return {name: _tensor(case, name, device, generator) for name in ("x", "shift", "scale")}

    def ours(self, case: RowCase) -> Function:
        return lambda inputs: (
            modulated_norm(inputs["x"], inputs["shift"], inputs["scale"], eps=EPS, backend="triton"),
        )

    def reference(self, case: RowCase) -> Function:
        return lambda inputs: (modulated_norm_reference(inputs["x"], inputs["shift"], inputs["scale"], EPS),)

    def launch(self, case: RowCase, inputs: Inputs) -> None:
        y = norm_operator.forward(inputs["x"], inputs["shift"], inputs["scale"], EPS)
        norm_operator.backward(y, inputs["x"], inputs["scale"], EPS)

    def cost(self, case: RowCase, which: Pass) -> Cost:
        """Forward: x, y. Backward: x, both gradients; where modulations have a row a token, scale and its gradient too
        (the gradient of shift is that of y)."""
        return _cost(case, 2, 2) if which == "forward" else _cost(case, 5, 4)

    def key(self, case: RowCase) -> Key:
        return _key(case)

    def tolerances(self, case: RowCase) -> Mapping[str, Tolerance]:
        values = tolerance(case.dtype, terms=case.shape.width)
        sums = tolerance(case.dtype, terms=case.shape.width + (1 if case.shape.per_token else case.shape.length))
        return {"output": values, "grad_x": values, "grad_shift": sums, "grad_scale": sums}


class GatedResidual(Subject[AdaLNShape]):
    """A branch added through a gate."""

    operator = "gated_residual"
    cases = GATED_RESIDUAL
    tunables = (residual_operator.FORWARD, residual_operator.BACKWARD)

    def inputs(self, case: RowCase, device: torch.device, generator: torch.Generator | None) -> Inputs:
        return {name: _tensor(case, name, device, generator) for name in ("x", "branch", "gate")}

    def ours(self, case: RowCase) -> Function:
        return lambda inputs: (gated_residual(inputs["x"], inputs["branch"], inputs["gate"], backend="triton"),)

    def reference(self, case: RowCase) -> Function:
        return lambda inputs: (gated_residual_reference(inputs["x"], inputs["branch"], inputs["gate"]),)

    def launch(self, case: RowCase, inputs: Inputs) -> None:
        y = residual_operator.forward(inputs["x"], inputs["branch"], inputs["gate"])
        residual_operator.backward(y, inputs["branch"], inputs["gate"])

    def cost(self, case: RowCase, which: Pass) -> Cost:
        """Forward: x, branch, y. Backward: branch, the gradients of y and branch (that of x is that of y)."""
        return _cost(case, 3, 1) if which == "forward" else _cost(case, 6, 3)

    def key(self, case: RowCase) -> Key:
        return _key(case)

    def tolerances(self, case: RowCase) -> Mapping[str, Tolerance]:
        values = tolerance(case.dtype, terms=1)
        sums = tolerance(case.dtype, terms=1 if case.shape.per_token else case.shape.length)
        return {"output": values, "grad_x": values, "grad_branch": values, "grad_gate": sums}
