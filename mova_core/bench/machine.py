"""What a result was measured on, and what the machine can do at best, measured in the same run."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import torch

from mova_core.versioning.lineage import code_commit, library_versions

COPY_BYTES = 512 * 1024**2
PRODUCT_REPEATS = 5


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions, commit and time."""
    commit, edited = code_commit()
    found: dict[str, Any] = {
        "device": platform.processor() or platform.machine(),
        "commit": commit,
        "edited_since_commit": edited,
        "versions": {**library_versions(), "torch_build": torch.__version__},
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "device_memory_bytes": properties.total_memory,
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # untyped in PyTorch
        }
    return found


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long some work takes on the clock, to its last kernel."""
    _finish(device)
    started = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - started


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The best floating point operations a second of a square product: the peak that utilisation is a share of."""
    size = 8192 if device.type == "cuda" else 512
    a, b = torch.randn(2, size, size, device=device).to(dtype).unbind()
    torch.mm(a, b)
    best = min(seconds_of(lambda: torch.mm(a, b), device) for _ in range(PRODUCT_REPEATS))
    return float(2 * size**3 / best)


def copy_rate(device: torch.device) -> float | None:
    """The best bytes a second from pinned memory to the device; None where they are the same memory."""
    if device.type != "cuda":
        return None
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device)
    best = min(seconds_of(lambda: target.copy_(source, non_blocking=True), device) for _ in range(PRODUCT_REPEATS))
    return COPY_BYTES / best


@contextlib.contextmanager
def device_peak(device: torch.device) -> Iterator[Callable[[], dict[str, int]]]:
    """Yields what tells the most device memory since: of tensors, and of what the allocator took; {} on a CPU."""
    if device.type != "cuda":
        yield dict
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    yield lambda: {
        "device_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "device_reserved_bytes": torch.cuda.max_memory_reserved(device),
    }


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _driver() -> str:
    """The driver's version, as its own tool says it."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip()
