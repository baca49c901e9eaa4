"""Where step functions run: a pool of processes on this machine, or a Ray cluster. Both run the same functions.

A task is one source file. A function that meets a bad file returns that as its result; an exception out of it is a
defect and ends the run. A file that takes the whole worker process down (decoders are native code) yields `WorkerLost`
for that file alone, and the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mova_core.config.curation import ExecutorConfig
from mova_core.errors import UserError
from mova_core.workers import available_cores, process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD_PER_WORKER = 2


@dataclass(frozen=True)
class WorkerLost:
    """Stands for the result of a task whose worker process died."""

    detail: str


class Executor(Protocol):
    """Runs one function over many tasks."""

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        """Yields ``(index of the task, its result)`` as results arrive, every index exactly once.

        `function` must be importable by name, and tasks and results must pickle.
        """
        ...


def make_executor(config: ExecutorConfig) -> Executor:
    """The executor that a section's `executor` block names."""
    if config.kind == "ray":
        return RayExecutor(config.ray_address)
    return LocalExecutor(config.num_workers or available_cores())


class LocalExecutor:
    """A pool of one-thread processes on this machine. They end with their parent, however it ends."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        waiting = deque(range(len(tasks)))
        while waiting:
            suspects = yield from self._until_a_worker_dies(function, tasks, waiting)
            for index in suspects:
                yield index, _run_alone(function, tasks[index])

    def _until_a_worker_dies(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], waiting: deque[int]
    ) -> Generator[tuple[int, Result], None, list[int]]:
        """Empties `waiting`; returns the tasks in flight when a worker died, one of which was its undoing."""
        running: dict[Future[Result], int] = {}
        suspects: list[int] = []
        with process_pool(min(self.num_workers, len(waiting))) as pool:
            while (waiting and not suspects) or running:
                while waiting and not suspects and len(running) < TASKS_AHEAD_PER_WORKER * self.num_workers:
                    index = waiting.popleft()
                    try:
                        running[pool.submit(function, tasks[index])] = index
                    except BrokenProcessPool:
                        suspects.append(index)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    index = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        suspects.append(index)
                    else:
                        yield index, future.result()
        return sorted(suspects)


def _run_alone(function: Callable[[Task], Result], task: Task) -> Result | WorkerLost:
    with process_pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return WorkerLost("the process that read this file died (a crash in a decoder, or no memory)")


class RayExecutor:
    """The same functions as Ray tasks of one core each, on the cluster at `address` (or a local one)."""

    def __init__(self, address: str) -> None:
        self.address = address

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        ray = _import_ray()
        if not ray.is_initialized():
            ray.init(address=self.address or None, include_dashboard=False, log_to_driver=False)
        remote = ray.remote(num_cpus=1, max_retries=1)(function)
        ahead = TASKS_AHEAD_PER_WORKER * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting = deque(range(len(tasks)))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < ahead:
                index = waiting.popleft()
                running[remote.remote(tasks[index])] = index
            (done,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done)
            try:
                yield index, ray.get(done)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                yield index, WorkerLost(" ".join(str(error).split())[:200])


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "executor.kind is 'ray' and Ray is not installed",
            expected="the package `ray`",
            remedy="run `pip install 'mova-lineage[cluster]'`, or set executor.kind to local",
        ) from error
    return ray
