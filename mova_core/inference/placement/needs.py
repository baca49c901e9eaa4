"""What each memory mode takes, before the run starts: weights counted, everything else measured without storage.

A stage takes what its guests take (`mova_core.inference.placement.layout`) and what its work makes; a run takes the
most that one of its stages does, and lets weights stay between stages within that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mova_core.errors import UserError
from mova_core.inference.placement.layout import MODES, Layout, Mode
from mova_core.inference.placement.room import Room

Request = Literal["auto", "resident", "swap", "stream"]
REQUESTS: tuple[Request, ...] = ("auto", *MODES)

GIBIBYTE = 1024**3
FRAGMENTATION = 1.1
"""What an allocator takes for each byte of short-lived tensors; an allowance, not a measurement."""
CUDA_LIBRARIES_BYTES = GIBIBYTE // 2
"""Workspaces of cuBLAS and the like; an allowance, not a measurement."""


@dataclass(frozen=True)
class Need:
    """The peak of a mode, in bytes, and the stage it is in: on the device, and on the host beside mapped weights."""

    device_bytes: int
    host_bytes: int
    stage: str


def needs_of(
    layouts: Mapping[Mode, Layout], work: Mapping[str, int], own_memory: bool, room: Room | None = None
) -> dict[Mode, Need]:
    """The needs of every mode.

    Parameters
    ----------
    work : what stages make beside weights, in bytes (`mova_core.inference.placement.work`).
    own_memory : whether the device has memory of its own.
    room : where it is ample for all weights at once, nothing of `resident` ever leaves, and its need is that of all.
    """
    needs = {mode: _need(layout, work, own_memory) for mode, layout in layouts.items()}
    if room is not None:
        settled = _need(layouts["resident"], work, own_memory, settled=True)
        if fits(settled, room):
            needs["resident"] = settled
    return needs


def rooms_of(need: Need, layout: Layout, work: Mapping[str, int], own_memory: bool) -> dict[str, int]:
    """For each stage, the bytes that weights may take on the device without passing the need that was stated."""
    if not own_memory:
        return {name: sum(guest.device_bytes for guest in layout.guests()) for name in layout.stages}
    return {name: need.device_bytes - _made(name, work) - CUDA_LIBRARIES_BYTES for name in layout.stages}


def _need(layout: Layout, work: Mapping[str, int], own_memory: bool, *, settled: bool = False) -> Need:
    """The need of one mode, where guests come for their stages or are all settled on the device."""
    stages = []
    for name, guests in layout.stages.items():
        present = layout.guests() if settled else guests
        pinned = sum(guest.host_bytes for guest in present)
        if own_memory:
            weights = sum(guest.device_bytes for guest in present)
            stages.append(Need(weights + _made(name, work) + CUDA_LIBRARIES_BYTES, pinned, name))
        else:
            # Weights stay where they are mapped; only the rings' buffers and the work are the process's own.
            own = sum(guest.device_bytes for guest in present if guest.host_bytes) + pinned + _made(name, work)
            stages.append(Need(own, own, name))
    largest = max(stages, key=lambda need: need.device_bytes)
    return dataclasses.replace(largest, host_bytes=max(need.host_bytes for need in stages))


def _made(stage: str, work: Mapping[str, int]) -> int:
    """What a stage makes beside weights, with the allocator's share."""
    return round(work.get(stage, 0) * FRAGMENTATION)


def choose(request: Request, needs: Mapping[Mode, Need], room: Room) -> Mode:
    """The mode to run in: the one asked for, or with `auto` the fastest that fits.

    Raises
    ------
    UserError : if it does not fit, with what is free, what is needed and what would fit.
    """
    fitting = [mode for mode in MODES if fits(needs[mode], room)]
    if request == "auto" and fitting:
        return fitting[0]
    if request != "auto" and request in fitting:
        return request
    wanted: Mode = min(MODES, key=lambda mode: needs[mode].device_bytes) if request == "auto" else request
    need = needs[wanted]
    smaller = "generate fewer frames, a smaller picture or fewer clips at once, or use a larger device"
    found, needed, where = (
        (room.device_bytes, need.device_bytes, f"on {room.device_name}")
        if need.device_bytes > room.device_bytes
        else (room.host_bytes, need.host_bytes, "of host memory")
    )
    raise UserError(
        f"{gib(found)} are free {where}, and memory mode {wanted} needs {gib(needed)} ({need.stage})",
        expected=f"at least {gib(needed)} free",
        remedy=f"use --memory {fitting[0]}" if fitting else smaller,
    )


def fits(need: Need, room: Room) -> bool:
    """Whether there is room for it, on the device and on the host."""
    return need.device_bytes <= room.device_bytes and need.host_bytes <= room.host_bytes


def statement(needs: Mapping[Mode, Need], room: Room, chosen: Mode) -> str:
    """One line for the user: what each mode takes at its peak, what is free, and which is used."""
    listed = ", ".join(f"{mode} {gib(need.device_bytes)}" for mode, need in needs.items())
    return (
        f"peak memory on {room.device_name} ({gib(room.device_bytes)} free): {listed}; "
        f"{chosen} is used, with {gib(needs[chosen].host_bytes)} of host memory beside the weights' files"
    )


def gib(num_bytes: int) -> str:
    """As in "9.3 GiB", or "12 MiB" where that is little."""
    if num_bytes < GIBIBYTE // 10:
        return f"{num_bytes / 1024**2:.1f} MiB"
    return f"{num_bytes / GIBIBYTE:.1f} GiB"
