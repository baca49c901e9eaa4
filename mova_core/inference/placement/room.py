"""How much memory is free, on the device and on the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Free memory in bytes.

    Attributes
    ----------
    device_name : for messages, as in "cuda:0" or "cpu".
    device_bytes : what could be allocated on the device.
    host_bytes : what could be allocated on the host; on a CPU the same memory.
    """

    device_name: str
    device_bytes: int
    host_bytes: int


def room_on(device: torch.device, held_bytes: int = 0) -> Room:
    """What is free now, together with `held_bytes`, which the caller would give back."""
    host = free_host_bytes()
    if device.type != "cuda":
        return Room(str(device), host + held_bytes, host + held_bytes)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return Room(str(device), free + unused + held_bytes, host)


def free_host_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """What the kernel could hand out without swapping, within the limit of the control group (a container's).

    Pages of mapped files count as free, since the kernel takes them back. Where the kernel does not say (macOS), all
    memory there is counts: more than is free, so that nothing is refused that could run.
    """
    if not meminfo.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    entries = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(entries["MemAvailable"].split()[0]) * 1024
    limit, usage = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or usage is None:
        return available
    cached = _file_pages(cgroup / "memory.stat")
    return max(0, min(available, limit - usage + cached))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file or no limit ("max")."""
    text = path.read_text().strip() if path.is_file() else "max"
    return None if text == "max" else int(text)


def _file_pages(path: Path) -> int:
    """Bytes of file pages that the kernel may drop."""
    if not path.is_file():
        return 0
    entries = dict(line.split() for line in path.read_text().splitlines())
    return int(entries.get("inactive_file", 0)) + int(entries.get("active_file", 0))
