"""Which weights are on the device at a time: those of the stage at hand, and others as far as there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from mova_core.inference.placement.lanes import Lane
from mova_core.inference.placement.parcel import Parcel


class Guest(Protocol):
    """What takes memory on the device while its stage lasts: a parcel, or the buffers of a ring."""

    name: str

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """Whose weights it carries."""
        ...

    @property
    def device_bytes(self) -> int:
        """What it takes on the device."""
        ...

    @property
    def host_bytes(self) -> int:
        """What it takes on the host beside the weights themselves."""
        ...

    def bring(self, lane: Lane) -> None:
        """Comes to the device."""
        ...

    def leave(self, lane: Lane) -> None:
        """Gives its memory back."""
        ...


class Turns:
    """Brings the guests of one stage, and sends others away for whom there is no room.

    Parameters
    ----------
    stages : by name, who must be on the device together, in the order in which a run comes to them.

    Attributes
    ----------
    stage, present : the stage at hand and who is there.
    """

    def __init__(self, stages: Mapping[str, Sequence[Guest]], lane: Lane) -> None:
        self.stages = {name: tuple(guests) for name, guests in stages.items()}
        self.stage: str | None = None
        self.present: list[Guest] = []
        self._rooms: dict[str, int] = {}
        self._lane = lane

    def allow(self, rooms: Mapping[str, int]) -> None:
        """Sets by stage the bytes for all who are there then, from the next stage on that is entered; the one at hand
        is entered again. Before, nobody stays beside a stage's own guests."""
        if self._rooms != rooms:
            self._rooms, self.stage = dict(rooms), None

    def need(self, guest: Guest) -> None:
        """Makes sure that the stage is one of this guest: the one at hand, or else the first that has it."""
        if self.stage is None or guest not in self.stages[self.stage]:
            self.enter(next(name for name, guests in self.stages.items() if guest in guests))

    @torch.inference_mode(False)  # or the ring's thread could not write into buffers made while sampling
    def enter(self, stage: str) -> None:
        """Changes the stage. Leaving comes first, so that two stages never add up."""
        if stage == self.stage:
            return
        wanted = self.stages[stage]
        staying = self._staying(stage)
        for guest in [guest for guest in self.present if guest not in wanted and guest not in staying]:
            guest.leave(self._lane)
            self.present.remove(guest)
        for guest in wanted:
            if guest not in self.present:
                guest.bring(self._lane)
                self.present.append(guest)
        self.stage = stage

    def leave_all(self) -> None:
        """Sends everything away."""
        for guest in self.present:
            guest.leave(self._lane)
        self.present.clear()
        self.stage = None

    def _staying(self, stage: str) -> list[Guest]:
        """Who stays beside a stage's own guests: those needed soonest, as far as the room goes. Rings do not: what they
        pin on the host is counted for their own stages."""
        wanted = self.stages[stage]
        room = self._rooms.get(stage, 0) - sum(guest.device_bytes for guest in wanted)
        others = [guest for guest in self.present if guest not in wanted and not guest.host_bytes]
        staying = []
        for guest in sorted(others, key=lambda guest: self._stages_until(guest, stage)):
            if guest.device_bytes <= room:
                staying.append(guest)
                room -= guest.device_bytes
        return staying

    def _stages_until(self, guest: Guest, stage: str) -> int:
        """How many stages later a guest is needed next; after the last the first follows."""
        names = list(self.stages)
        here = names.index(stage)
        return min((names.index(name) - here) % len(names) for name in names if guest in self.stages[name])
