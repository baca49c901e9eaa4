"""The one place from which kernels are started and their outputs allocated.

Everything a launch needs is in one description, so that the very launches which a GPU would run can be written down on
a machine without one and compiled there (`kernels.ahead_of_time`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from kernels.tuning import Config

Allocator = Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor]

PROCESSORS_ASSUMED = 132
"""Multiprocessors of an H100 or H200, for launches that are only written down."""
PROCESSORS_INTERPRETED = 2
"""Few, so that a program of the interpreter has several rows to work through, as it has on a GPU."""


MOST_CHUNKS = 8
"""Of a row in registers: each is a run of instructions of its own."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """One start of a kernel.

    Attributes
    ----------
    kernel : the function under `triton.jit`.
    grid : programs along each axis.
    arguments : by name: tensors, numbers, and the constants that the kernel is compiled for.
    config : warps, stages and block sizes (the blocks are also among `arguments`).
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    config: Config


_recorders: list[list[Launch]] = []
_allocators: list[Allocator] = []


def launch(kernel: Any, grid: Sequence[int], config: Config, **arguments: Any) -> None:
    """Starts `kernel` on the device of its tensors, or writes the launch down while `recording`.

    The blocks of `config` are passed along with `arguments`.
    """
    described = Launch(kernel, tuple(grid), {**arguments, **config.blocks}, config)
    if _recorders:
        _recorders[-1].append(described)
        return
    tensor = next(value for value in arguments.values() if isinstance(value, torch.Tensor))
    with torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext():
        kernel[described.grid](**described.arguments, num_warps=config.num_warps, num_stages=config.num_stages)


@contextlib.contextmanager
def recording() -> Iterator[list[Launch]]:
    """Within, launches are written into the list instead of being run: for tensors on the meta device."""
    _recorders.append([])
    try:
        yield _recorders[-1]
    finally:
        _recorders.pop()


def allocate(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory for what a kernel writes, not initialised. Kernels allocate here only, so that tests can watch it."""
    if _allocators:
        return _allocators[-1](tuple(shape), dtype, device)
    return torch.empty(tuple(shape), dtype=dtype, device=device)


@contextlib.contextmanager
def allocating_with(allocator: Allocator) -> Iterator[None]:
    """Within, `allocate` calls `allocator`."""
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


def num_processors(device: torch.device) -> int:
    """Multiprocessors of the device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return PROCESSORS_ASSUMED if device.type == "meta" else PROCESSORS_INTERPRETED


CAPABILITY_ASSUMED = 90
_capabilities: list[int] = []


def capability() -> int:
    """Compute capability that configurations are chosen for, such as 90: the GPU's, or the one that is assumed."""
    if _capabilities:
        return _capabilities[-1]
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        return 10 * major + minor
    return CAPABILITY_ASSUMED


@contextlib.contextmanager
def assuming_capability(value: int) -> Iterator[None]:
    """Within, configurations are chosen for a GPU of that compute capability."""
    _capabilities.append(value)
    try:
        yield
    finally:
        _capabilities.pop()


def chunked(count: int) -> tuple[int, int]:
    """How `count` values lie in at most eight chunks, whose size is a power of two: (size, chunks)."""
    size = count & -count
    if count // size > MOST_CHUNKS:
        size = 1 << (-(-count // MOST_CHUNKS) - 1).bit_length()
    return size, -(-count // size)


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU: TRITON_INTERPRET=1, set before they are imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"
