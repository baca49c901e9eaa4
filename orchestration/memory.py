"""How much memory a process and everything it started hold together, watched while a block runs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

SECONDS_BETWEEN_LOOKS = 0.5
KIBIBYTE = 1024


class PeakMemory:
    """``with PeakMemory(pid) as peak: ...`` leaves the highest sum seen in ``peak.highest_bytes``.

    Pages that processes share count once (proportional set size). Zero where the kernel has no /proc/PID/smaps_rollup.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self.highest_bytes = 0

    def __enter__(self) -> PeakMemory:
        self.highest_bytes = tree_bytes(self._pid)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN_LOOKS):
            self.highest_bytes = max(self.highest_bytes, tree_bytes(self._pid))


def tree_bytes(pid: int) -> int:
    """Memory of `pid` and its descendants now; a process that ends while being read counts as nothing."""
    parents = _parents()
    family = {pid}
    for process in sorted(parents):  # a child has the higher id, but for a rare wrap-around
        if parents[process] in family:
            family.add(process)
    return sum(_proportional_bytes(process) for process in family)


def _parents() -> dict[int, int]:
    """Process id -> its parent's, for every process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # "pid (name) state ppid ...": the name may hold spaces and brackets, so count from its last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(fields[1])
    return parents


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * KIBIBYTE for line in lines if line.startswith("Pss:")), 0)
