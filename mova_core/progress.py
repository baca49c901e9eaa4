"""Progress that suits its reader: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LOG_LINES = 10.0
LOG_BAR_WIDTH = 24


def say(message: str) -> None:
    """Prints one line of what is going on, at once, on standard error (standard output is for results).

    Of several processes that a launcher started together, the first speaks for all.
    """
    if _is_first():
        print(message, file=sys.stderr, flush=True)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Generator[Item]:
    """Yields `items` unchanged while showing how many are done, the rate and the time left."""
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]  # checked by hasattr
    if not _is_first():
        yield from items
    elif sys.stderr.isatty():
        yield from _bar(items, description, total)
    else:
        yield from _lines(items, description, total)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def ticking(description: str, total: int) -> Iterator[Callable[[], None]]:
    """As `track`, for work that calls back instead of being iterated: yields what to call after each of `total`."""
    ticks = track(range(total), description, total)
    next(ticks, None)

    def tick() -> None:
        next(ticks, None)

    try:
        yield tick
    finally:
        ticks.close()


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description=description, total=total, console=console)


def _lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    started = last = time.monotonic()
    done = said = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LOG_LINES:
            last, said = now, done
            say(_line(description, done, total, now - started))
    if done == 0 or done != said:
        say(_line(description, done, total, time.monotonic() - started))


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    of_total = f"/{total} {_drawn(done / total)}" if total else ""
    left = f", {(total - done) / rate:.0f} s left" if total is not None and rate > 0 and done < total else ""
    return f"{description}: {done}{of_total} in {seconds:.0f} s ({rate:.1f}/s{left})"


def _drawn(share: float) -> str:
    """The share done as a bar of fixed width, for logs."""
    filled = round(min(1.0, share) * LOG_BAR_WIDTH)
    return f"[{'#' * filled}{'.' * (LOG_BAR_WIDTH - filled)}]"
