"""Which implementation of an operator runs: chosen here and nowhere else, and said once.

A request is `reference` (plain PyTorch), `triton`, or `auto` (the fastest that is built and can run on the device). A
request for `triton` that cannot be met raises; only `auto` may settle for the reference.
"""

from __future__ import annotations

import functools
import logging
from typing import Literal, get_args

Request = Literal["reference", "triton", "auto"]
Backend = Literal["reference", "triton"]

OPERATORS = ("aligned_rope", "bridge_attention")
BUILT_IN_TRITON: frozenset[str] = frozenset()
"""Operators that have a Triton kernel."""

logger = logging.getLogger(__name__)


class KernelUnavailable(RuntimeError):
    """A backend was demanded that cannot run here; the message names the operator and the reason."""


@functools.cache
def choose(operator: str, request: Request, device_type: str) -> Backend:
    """The backend that serves `operator` on a device type ("cpu", "cuda", ...).

    Logs the choice and its reason the first time a combination is met.

    Raises
    ------
    KernelUnavailable : if `request` is "triton" and no Triton kernel of `operator` can run on that device.
    ValueError : if `operator` or `request` is unknown.
    """
    if operator not in OPERATORS:
        raise ValueError(f"operator {operator!r}, expected one of {', '.join(OPERATORS)}")
    if request not in get_args(Request):
        raise ValueError(f"backend {request!r}, expected one of {', '.join(get_args(Request))}")
    if request == "reference":
        return _announced(operator, "reference", "it was asked for")
    obstacle = _obstacle_to_triton(operator, device_type)
    if obstacle is None:
        return _announced(operator, "triton", f"it runs on {device_type}")
    if request == "triton":
        raise KernelUnavailable(f"{operator}: the triton backend was asked for, but {obstacle}")
    return _announced(operator, "reference", obstacle)


def _obstacle_to_triton(operator: str, device_type: str) -> str | None:
    if operator not in BUILT_IN_TRITON:
        return "its Triton kernel is not built yet"
    if device_type != "cuda":
        return f"Triton kernels need a GPU and the tensors are on {device_type}"
    return None


def _announced(operator: str, backend: Backend, reason: str) -> Backend:
    logger.info("%s: %s backend, because %s", operator, backend, reason)
    return backend
