"""Device time of a call: repeated, with a cold cache, and with its spread."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

Call = Callable[[], object]

MOST_REPEATS = 50
LEAST_REPEATS = 10
SECONDS_A_CALL = 2.0
"""Aimed at for all repeats of one call together."""
L2_BYTES = 256 * 2**20
"""Written between repeats: more than the L2 cache of any GPU of compute capability 8.0 to 10.0."""

CYCLES_A_MS = 2_000_000
"""At about the highest clock of such a GPU; a slower one only waits longer."""
LONGEST_LEAD_MS = 500.0


@dataclasses.dataclass(frozen=True)
class Spread:
    """Times of repeats, in milliseconds.

    Attributes
    ----------
    p20_ms, p80_ms : a fifth of the repeats were faster, a fifth slower.
    """

    median_ms: float
    p20_ms: float
    p80_ms: float
    num_repeats: int


class Timer(Protocol):
    """Times single calls; tests have one that makes times up."""

    def time_ms(self, call: Call, num_repeats: int) -> Sequence[float]:
        """Milliseconds of each of `num_repeats` calls, after whatever warm-up the timer needs."""

    def peak_bytes(self, call: Call) -> int:
        """The most memory that lies allocated at any moment of the call, beyond what did before it."""


def measure(timer: Timer, call: Call) -> Spread:
    """Times a call often enough to trust the median, within about `SECONDS_A_CALL`."""
    first = statistics.median(timer.time_ms(call, 3))
    wanted = round(SECONDS_A_CALL * 1000 / max(first, 1e-3))
    return spread(timer.time_ms(call, max(LEAST_REPEATS, min(MOST_REPEATS, wanted))))


def spread(times_ms: Sequence[float]) -> Spread:
    """Median, and 20th and 80th percentiles, of at least two times.

    Raises
    ------
    ValueError : for fewer.
    """
    if len(times_ms) < 2:
        raise ValueError(f"{len(times_ms)} repeats, expected at least 2")
    fifths = statistics.quantiles(times_ms, n=5, method="inclusive")
    return Spread(statistics.median(times_ms), fifths[0], fifths[3], len(times_ms))


class CudaTimer:
    """CUDA events around each call, queued behind a pause of the GPU, so that launches do not count.

    Without the pause the GPU waits inside the events for a host that takes longer to start a kernel than it to run it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache = torch.empty(L2_BYTES, dtype=torch.int8, device=device)

    def time_ms(self, call: Call, num_repeats: int) -> Sequence[float]:
        call()
        torch.cuda.synchronize(self._device)
        begun = time.perf_counter()
        call()
        host_ms = 1000 * (time.perf_counter() - begun)
        pairs = [(_event(), _event()) for _ in range(num_repeats)]
        lead_ms = min(1.5 * host_ms * num_repeats, LONGEST_LEAD_MS)
        torch.cuda._sleep(int(lead_ms * CYCLES_A_MS))  # type: ignore[no-untyped-call]  # untyped in PyTorch
        for begin, end in pairs:
            self._cache.zero_()
            begin.record()
            call()
            end.record()
        torch.cuda.synchronize(self._device)
        return [begin.elapsed_time(end) for begin, end in pairs]

    def peak_bytes(self, call: Call) -> int:
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        call()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # untyped in PyTorch
