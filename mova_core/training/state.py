"""The state to resume from: whole or absent, one file a process, and readable by another number of processes.

```
STATE/step_00000100/meta.json                    step, processes, the layout of the shards
STATE/step_00000100/rank_0000.safetensors        "<shard>/<entry>": this process's tensors
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from mova_core.errors import UserError
from mova_core.files import flush_to_disk, write_text
from mova_core.training.partition import Layout

KEPT = 2

State = list[dict[str, torch.Tensor]]


def save_state(folder: Path, step: int, state: State, layouts: Sequence[Layout]) -> None:
    """Writes every process's state after `step` steps and drops all but the newest two. Collective."""
    aside, final = folder / f".step_{step:08d}", folder / f"step_{step:08d}"
    aside.mkdir(parents=True, exist_ok=True)
    path = aside / _file_name(dist.get_rank())
    entries = {f"{index}/{name}": value for index, shard in enumerate(state) for name, value in shard.items()}
    save_file(entries, path)
    flush_to_disk(path)
    dist.barrier()
    if dist.get_rank() == 0:
        meta = {"step": step, "processes": dist.get_world_size(), "layouts": [layout.describe() for layout in layouts]}
        write_text(aside / "meta.json", json.dumps(meta))
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        flush_to_disk(folder)
        for old in saved_states(folder)[:-KEPT]:
            shutil.rmtree(old)


def saved_states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    return sorted(folder.glob("step_*"))


def discard_unfinished(folder: Path) -> None:
    """Removes what a killed run left of a state that never became whole."""
    for path in folder.glob(".step_*"):
        shutil.rmtree(path)


def load_state(folder: Path, layouts: Sequence[Layout]) -> tuple[int, State] | None:
    """The newest state as this process needs it, with its step; None if there is none.

    Raises
    ------
    UserError : if it was written with the weights laid out in another way.
    """
    states = saved_states(folder)
    if not states:
        return None
    meta = json.loads((states[-1] / "meta.json").read_text(encoding="utf-8"))
    if meta["layouts"] != json.loads(json.dumps([layout.describe() for layout in layouts])):
        raise UserError(
            f"{states[-1]} lays the weights out in another way",
            expected="the layout of this configuration",
            remedy=f"set train.engine.flat_parameters as it was, or delete {folder} to train this phase from its start",
        )
    world, rank = dist.get_world_size(), dist.get_rank()
    if meta["processes"] == world:
        return meta["step"], _split(load_file(states[-1] / _file_name(rank)), len(layouts))
    files = [load_file(states[-1] / _file_name(index)) for index in range(meta["processes"])]
    shards = [_split(file, len(layouts)) for file in files]
    return meta["step"], [_recut([file[i] for file in shards], layout, world, rank) for i, layout in enumerate(layouts)]


def _recut(parts: State, layout: Layout, world: int, rank: int) -> dict[str, torch.Tensor]:
    """One shard's entries from all old processes to this new one."""
    recut = {}
    for name, first in parts[0].items():
        if first.dim() == 0:
            recut[name] = first
        else:
            whole = layout.assemble(torch.stack([part[name] for part in parts]))
            recut[name] = layout.cut(whole, world)[rank].clone()
    return recut


def _split(entries: dict[str, torch.Tensor], num_shards: int) -> State:
    state: State = [{} for _ in range(num_shards)]
    for key, value in entries.items():
        index, name = key.split("/")
        state[int(index)][name] = value
    return state


def _file_name(rank: int) -> str:
    return f"rank_{rank:04d}.safetensors"
