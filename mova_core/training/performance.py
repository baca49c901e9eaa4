"""What a step costs: floating point operations, the machine's ceiling, memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch

CEILING_SIZE = 512
CEILING_SECONDS = 0.1
BACKWARD_FACTOR = 3
"""A forward and its backward take this many times the forward's operations."""


def forward_flops(forward: Callable[[], object]) -> int:
    """Floating point operations of the products in `forward`, attention included, counted while it runs."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention, and would count none; the plain one is products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops())


def matmul_ceiling(device: torch.device) -> float:
    """Measured float32 GFLOP/s of square products, with all processes at it; a tenth of a second."""
    a = torch.randn(CEILING_SIZE, CEILING_SIZE, device=device)
    a @ a
    started, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < CEILING_SECONDS:
        (a @ a).sum().item()
        count += 1
    return 2 * CEILING_SIZE**3 * count / seconds / 1e9


def peak_memory_mib() -> float:
    """The most memory this process has held, device memory where there is a device, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
