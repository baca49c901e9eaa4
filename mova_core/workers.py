"""Pools of one-thread processes on this machine, for work that libraries in C do one item at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mova_core.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD_PER_WORKER = 4
# Native libraries that start threads of their own are held to one: there is a process for every core already.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def process_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes: nothing is forked, so no lock or thread of this one is. They end when this one does."""
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        # Do not wait for items in work: whoever stopped us runs again later.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def map_in_order(
    pool: ProcessPoolExecutor, num_workers: int, function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Iterator[Result]:
    """Yields ``function(task)`` in the tasks' order, with only a few results waiting at any time.

    Raises
    ------
    UserError : if a worker process was killed.
    """
    running: deque[Future[Result]] = deque()
    for task in tasks:
        running.append(pool.submit(function, task))
        if len(running) >= TASKS_AHEAD_PER_WORKER * num_workers:
            yield _result(running.popleft())
    while running:
        yield _result(running.popleft())


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed",
            expected="it to end by itself",
            remedy="see that memory is free and run the same command again, it goes on where it stopped",
        ) from error


def _start_worker() -> None:
    """Runs first in every worker process."""
    for variable in ONE_THREAD:
        os.environ[variable] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
