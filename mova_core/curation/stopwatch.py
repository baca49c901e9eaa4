"""Time of parts of the work, to compare a step with what its decoders and encoders alone would take.

Wall-clock time: reading the processor time costs more than decoding a small frame.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Adds up the time spent inside ``with watch:``, or while `timed` waits for its next item."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter() - self._started

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields `items`, counting only the time that producing them takes."""
        iterator = iter(items)
        while True:
            with self:
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
