"""What this device does at best, measured in the same run: a large copy and a large matrix product."""

from __future__ import annotations

import dataclasses

import torch

from kernels.bench.timing import Timer, measure
from kernels.subject import Cost

COPY_BYTES = 2 * 2**30
MATRIX = 8192


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """Rates that a kernel's time is held against.

    Attributes
    ----------
    bytes_per_second : a copy's, reads and writes counted.
    flops_per_second : a matrix product's, by dtype ("bfloat16", ...).
    """

    bytes_per_second: float
    flops_per_second: dict[str, float]

    def floor_ms(self, cost: Cost, dtype: str) -> float:
        """The least time for `cost`: its memory traffic or its matrix products, whichever takes longer."""
        moving = cost.num_bytes / self.bytes_per_second
        multiplying = cost.num_flops / self.flops_per_second[dtype] if cost.num_flops else 0.0
        return 1000 * max(moving, multiplying)


def measure_ceilings(timer: Timer, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> Ceilings:
    """Measures both on `device`."""
    rates = {str(dtype).removeprefix("torch."): _product_rate(timer, device, dtype) for dtype in dtypes}
    return Ceilings(_copy_rate(timer, device), rates)


def _copy_rate(timer: Timer, device: torch.device) -> float:
    source = torch.zeros(COPY_BYTES, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / (measure(timer, lambda: target.copy_(source)).median_ms / 1000)


def _product_rate(timer: Timer, device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    return float(2 * MATRIX**3 / (measure(timer, lambda: a @ b).median_ms / 1000))
