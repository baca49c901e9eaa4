"""Which implementation of an operator runs: chosen here and nowhere else, and said once.

A request is `reference` (plain PyTorch), `triton`, or `auto` (Triton where it is built and can run, else the
reference). A request for `triton` that cannot be met raises; only `auto` may settle for the reference.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from typing import Literal, get_args

import torch

from kernels.launch import interpreting

Request = Literal["reference", "triton", "auto"]
Backend = Literal["reference", "triton"]

OPERATORS = ("norm_rotate", "modulated_norm", "gated_residual", "bridge_attention")
BUILT_IN_TRITON: frozenset[str] = frozenset({"norm_rotate", "modulated_norm", "gated_residual", "bridge_attention"})
"""Operators that have a Triton kernel."""

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What the kernels read and write; they accumulate in float32."""

LEAST_CAPABILITY = (8, 0)
"""Compute capability from which bfloat16 is multiplied in hardware; tests compile the kernels for it and for 9.0."""

logger = logging.getLogger(__name__)

_said: set[tuple[str, Request, str, torch.dtype]] = set()


class KernelUnavailable(RuntimeError):
    """A backend was demanded that cannot run here; the message names the operator and the reason."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # untyped in PyTorch
def choose(operator: str, request: Request, device_type: str, dtype: torch.dtype = torch.float32) -> Backend:
    """The backend that serves `operator` on tensors of `dtype` on a device type ("cpu", "cuda", ...).

    Logs the choice and its reason the first time a combination is met.

    Raises
    ------
    KernelUnavailable : if `request` is "triton" and no Triton kernel of `operator` can run on such tensors.
    ValueError : if `operator` or `request` is unknown.
    """
    if operator not in OPERATORS:
        raise ValueError(f"operator {operator!r}, expected one of {', '.join(OPERATORS)}")
    if request not in get_args(Request):
        raise ValueError(f"backend {request!r}, expected one of {', '.join(get_args(Request))}")
    backend, reason = _decide(operator, request, device_type, dtype)
    if (met := (operator, request, device_type, dtype)) not in _said:
        _said.add(met)
        logger.info("%s: %s backend, because %s", operator, backend, reason)
    return backend


def _decide(operator: str, request: Request, device_type: str, dtype: torch.dtype) -> tuple[Backend, str]:
    if request == "reference":
        return "reference", "it was asked for"
    obstacle = _obstacle_to_triton(operator, device_type, dtype)
    if request == "triton":
        if obstacle is not None:
            raise KernelUnavailable(f"{operator}: the triton backend was asked for, but {obstacle}")
        return "triton", "it was asked for"
    if obstacle is None and device_type != "cuda":
        obstacle = "Triton's interpreter shows that a kernel is right, not how fast it is"
    return ("triton", f"it runs on {device_type}") if obstacle is None else ("reference", obstacle)


def _obstacle_to_triton(operator: str, device_type: str, dtype: torch.dtype) -> str | None:
    if operator not in BUILT_IN_TRITON:
        return "its Triton kernel is not built yet"
    if not _has_triton():
        return "the package triton is not installed"
    if dtype not in DTYPES:
        return f"its Triton kernel takes {', '.join(str(known) for known in DTYPES)}, not {dtype}"
    if device_type == "cuda":
        capability = torch.cuda.get_device_capability()
        if capability < LEAST_CAPABILITY:
            return f"the GPU's compute capability is {capability}, at least {LEAST_CAPABILITY} is needed"
        return None
    if device_type == "cpu" and interpreting():
        return None
    return f"Triton kernels need a GPU and the tensors are on {device_type}"


@functools.cache
def _has_triton() -> bool:
    """Looked up once: the search takes 0.1 ms, as long as a small operator on the CPU."""
    return importlib.util.find_spec("triton") is not None
