"""Several processes that sample together, as torchrun starts them. Loads no torch until they join.

Each process runs the same command. Where all compute one clip, the first alone writes and speaks.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from mova_core.errors import UserError

Value = TypeVar("Value")

LOST = re.compile(r"Connection (closed|reset) by|Broken pipe|Socket closed", re.IGNORECASE)
"""How Gloo says that a process at the other end is gone."""


def num_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many were started together."""
    return int(environment.get("WORLD_SIZE", "1"))


def index(environment: Mapping[str, str] = os.environ) -> int:
    """Which of them this one is."""
    return int(environment.get("RANK", "0"))


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this one writes."""
    return index(environment) == 0


def local_index(environment: Mapping[str, str] = os.environ) -> int:
    """Which of its machine's GPUs this process takes."""
    return int(environment.get("LOCAL_RANK", "0"))


def refuse_several(verb: str) -> None:
    """For what one process does alone.

    Raises
    ------
    UserError : where several were started together.
    """
    if num_processes() > 1:
        raise UserError(
            f"{num_processes()} processes run `mova {verb}` together",
            expected="one: several share the clips of `mova generate` and of `mova sample --prompts`",
            remedy="start it without torchrun",
        )


def check_spread(folder: Path) -> None:
    """Whether the model in `folder` can be spread over the processes that there are; before its weights are read.

    Raises
    ------
    UserError : if not.
    """
    from mova_core.models.dual_tower import check_heads
    from mova_core.models.layout import read_config

    try:
        check_heads(read_config(folder), num_processes())
    except ValueError as error:
        raise UserError(
            f"the model in {folder} has {error}",
            expected="a number of processes that divides all heads",
            remedy="start fewer with torchrun --nproc-per-node; `mova sample --parallel prompts` takes any number",
        ) from error


@contextlib.contextmanager
def joined(device_type: str, patience: timedelta | None = None) -> Iterator[None]:
    """Connects the processes, over NCCL on GPUs and Gloo on CPUs, and parts them at the end; one alone does nothing.

    Parameters
    ----------
    patience : how long one waits for another before it fails; by default what PyTorch takes, some minutes.

    Raises
    ------
    UserError : if another process ended before its time.
    """
    if num_processes() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if device_type == "cuda":
        torch.cuda.set_device(local_index())
    # Objects (see `from_first`) go over Gloo in both cases.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo", timeout=patience)
    try:
        yield
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        raise UserError(
            f"process {index()} of {num_processes()} lost another, which ended early",
            expected="all of them until the end",
            remedy="see what that one said; `mova sample` goes on where it stopped when run again",
        ) from error
    finally:
        dist.destroy_process_group()


def from_first(make: Callable[[], Value]) -> Value:
    """What `make` returns in the first process, in all that have joined; the others do not call it."""
    if num_processes() == 1:
        return make()
    import torch.distributed as dist

    values = [make() if is_first() else None]
    dist.broadcast_object_list(values, src=0)
    value: Value = values[0]  # type: ignore[assignment]  # the first's
    return value


def gathered(value: Value) -> list[Value]:
    """Every process's `value`, in their order, in all that have joined. Waits for the last of them."""
    if num_processes() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Value] = [value] * num_processes()
    dist.all_gather_object(values, value)
    return values
