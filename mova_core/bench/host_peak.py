"""How much memory of its own a process takes on the host while something runs: pages of mapped files do not count."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")
SECONDS_BETWEEN_LOOKS = 0.002


class HostPeak:
    """A context in which the process's anonymous memory is watched.

    Attributes
    ----------
    before_bytes, peak_bytes : at the start, and the most that was seen.
    """

    def __init__(self) -> None:
        self.before_bytes = own_bytes()
        self.peak_bytes = self.before_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def added_bytes(self) -> int:
        """What came on top at the peak."""
        return self.peak_bytes - self.before_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._look()
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, own_bytes())


def own_bytes() -> int:
    """Anonymous and shared memory of this process; what is mapped from files is left out.

    Raises
    ------
    OSError : where there is no /proc/self/status (not Linux).
    """
    entries = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return sum(int(entries[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
