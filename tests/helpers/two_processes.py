"""Runs a function in two processes that are connected over Gloo, and hands back what each returned."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120


def in_two_processes(
    function: Callable[..., Any], rendezvous: Path, *arguments: Any, seconds: float = SECONDS
) -> list[Any]:
    """`function(*arguments)` in both; `rendezvous` is a file that is not there yet."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_work, args=(queue, rank, str(rendezvous), function, arguments)) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    returned = dict(queue.get(timeout=seconds) for _ in workers)
    for worker in workers:
        worker.join(SECONDS)
    failures = [value for value in returned.values() if isinstance(value, str)]
    assert not failures, failures[0]
    return [returned[rank] for rank in range(2)]


def _work(queue: Any, rank: int, rendezvous: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import traceback

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
        result = function(*arguments)
        queue.put((rank, [part.numpy() for part in result]))
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        queue.put((rank, traceback.format_exc()))
        raise
