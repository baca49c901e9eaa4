"""Several processes that sample one clip together, as torchrun starts them. Loads no torch until they join.

Each process runs the same command. All compute; the first alone writes and speaks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mova_core.errors import UserError


def num_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many were started together."""
    return int(environment.get("WORLD_SIZE", "1"))


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this one writes."""
    return environment.get("RANK", "0") == "0"


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
            expected="one: only `mova generate` spreads a clip over several",
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
            remedy="start fewer with torchrun --nproc-per-node",
        ) from error


@contextlib.contextmanager
def joined(device_type: str) -> Iterator[None]:
    """Connects the processes, over NCCL on GPUs and Gloo on CPUs, and parts them at the end; one alone does nothing."""
    if num_processes() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if device_type == "cuda":
        torch.cuda.set_device(local_index())
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
