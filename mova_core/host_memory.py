"""Memory that was freed stays with the process, for work that asks for the same sizes step after step.

glibc hands blocks above a threshold back to the system when they are freed. Each page of the next block of that size is
then a fault and a page of zeros to write: 57,000 of them in one joint step of 0.64 s, an eighth of its time
(docs/benchmarks/cpu-step.md).
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), by the numbers in malloc.h."""

LARGEST_KEPT_BYTES = 32 << 20
"""The most that mallopt takes as M_MMAP_THRESHOLD; larger blocks go back to the system as before."""
TRIM_BYTES = 2**31 - 1
GROWTH_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Sets this process's allocator so, for blocks of up to 32 MiB; False where the C library has no such setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc: macOS, musl, Windows
        return False
    settings = {M_MMAP_THRESHOLD: LARGEST_KEPT_BYTES, M_TRIM_THRESHOLD: TRIM_BYTES, M_TOP_PAD: GROWTH_BYTES}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
