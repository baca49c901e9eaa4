"""What each memory mode takes, before the run starts: weights counted, everything else measured without storage.

A stage takes what its guests take (`mova_core.inference.placement.layout`) and what its work makes; a run takes the
most that one of its stages does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

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


def needs_of(layouts: Mapping[Mode, Layout], work: Mapping[str, int], device: torch.device) -> dict[Mode, Need]:
    """The needs of every mode.

    Parameters
    ----------
    work : what stages make beside weights, in bytes (`mova_core.inference.placement.work`).
    """
    return {mode: _need(layout, work, device) for mode, layout in layouts.items()}


def _need(layout: Layout, work: Mapping[str, int], device: torch.device) -> Need:
    on_host = device.type != "cuda"
    stages = []
    for name, guests in layout.stages.items():
        made = round(work.get(name, 0) * FRAGMENTATION)
        pinned = sum(guest.host_bytes for guest in guests)
        if on_host:
            # Weights stay where they are mapped; only the rings' buffers and the work are the process's own.
            own = sum(guest.device_bytes for guest in guests if guest.host_bytes) + pinned + made
            stages.append(Need(own, own, name))
        else:
            on_device = sum(guest.device_bytes for guest in guests) + made + CUDA_LIBRARIES_BYTES
            stages.append(Need(on_device, pinned, name))
    largest = max(stages, key=lambda need: need.device_bytes)
    return dataclasses.replace(largest, host_bytes=max(need.host_bytes for need in stages))


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
