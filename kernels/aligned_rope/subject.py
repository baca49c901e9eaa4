"""`norm_rotate` as tests and benchmark see it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch

from kernels.aligned_rope import norm_rotate
from kernels.aligned_rope.operator import BACKWARD, FORWARD, backward, forward
from kernels.aligned_rope.reference import norm_rotate_reference
from kernels.aligned_rope.rotation import Rotation, table_rows
from kernels.cases import NORM_ROTATE, Case, NormRotateShape, Tolerance, tolerance
from kernels.subject import Cost, Function, Inputs, Pass, Subject, random_normal
from kernels.tuning import Key

EPS = 1e-6

RowCase = Case[NormRotateShape]


class NormRotate(Subject[NormRotateShape]):
    """RMSNorm and rotation."""

    operator = "norm_rotate"
    cases = NORM_ROTATE
    tunables = (FORWARD, BACKWARD)

    def inputs(self, case: RowCase, device: torch.device, generator: torch.Generator | None) -> Inputs:
        shape = case.shape
        width = shape.num_heads * shape.head_dim
        angles = random_normal(
            (table_rows(shape.grid, shape.split), sum(shape.split)), torch.float32, device, generator
        )
        return {
            "x": random_normal((shape.batch, shape.length, width), case.dtype, device, generator, requires_grad=True),
            "weight": random_normal((width,), torch.float32, device, generator, mean=1.0, requires_grad=True),
            "cos": angles.cos(),
            "sin": angles.sin(),
        }

    def ours(self, case: RowCase) -> Function:
        return self._calling(functools.partial(norm_rotate, backend="triton"), case)

    def reference(self, case: RowCase) -> Function:
        return self._calling(norm_rotate_reference, case)

    def _calling(self, function: Callable[..., torch.Tensor], case: RowCase) -> Function:
        shape = case.shape

        def run(inputs: Inputs) -> tuple[torch.Tensor, ...]:
            y = function(
                inputs["x"],
                inputs["weight"],
                self._rotation(case, inputs),
                num_heads=shape.num_heads,
                eps=EPS,
                first_token=shape.first_token,
            )
            return (y,)

        return run

    def launch(self, case: RowCase, inputs: Inputs) -> None:
        x = inputs["x"]
        weight, cos, sin = inputs["weight"], inputs["cos"], inputs["sin"]
        grid, split, interleaved = case.shape.grid, case.shape.split, case.shape.layout == "interleaved"
        heads, first = case.shape.num_heads, case.shape.first_token
        y = forward(x, weight, cos, sin, grid, split, interleaved, heads, first, EPS)
        backward(y, x, weight, cos, sin, grid, split, interleaved, heads, first, EPS)

    def cost(self, case: RowCase, which: Pass) -> Cost:
        """Forward reads x and writes y. Backward reads x and the gradient of y and writes that of x."""
        shape = case.shape
        row_bytes = shape.num_heads * shape.head_dim * case.dtype.itemsize
        passes = {"forward": 2, "forward_backward": 5}[which]
        return Cost(num_bytes=passes * shape.batch * shape.length * row_bytes)

    def key(self, case: RowCase) -> Key:
        return case.shape.num_heads * case.shape.head_dim, str(case.dtype).removeprefix("torch.")

    def tolerances(self, case: RowCase) -> Mapping[str, Tolerance]:
        """Values are rounded once, to x's dtype; the weight's gradient is a float32 sum over all tokens."""
        width, rows = case.shape.num_heads * case.shape.head_dim, case.shape.batch * case.shape.length
        return {
            "output": tolerance(case.dtype, terms=width),
            "grad_x": tolerance(case.dtype, terms=width),
            "grad_weight": tolerance(torch.float32, terms=rows + width),
        }

    def _rotation(self, case: RowCase, inputs: Inputs) -> Rotation:
        return Rotation(inputs["cos"], inputs["sin"], case.shape.grid, case.shape.split, case.shape.layout)
