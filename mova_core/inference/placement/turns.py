"""Which weights are on the device at a time: those of the stage at hand, and no others."""

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
    """Brings the guests of one stage and sends the others away.

    Parameters
    ----------
    stages : by name, who is on the device together. Guests of two stages stay where one follows the other.

    Attributes
    ----------
    stage, present : the stage at hand and its guests.
    """

    def __init__(self, stages: Mapping[str, Sequence[Guest]], lane: Lane) -> None:
        self.stages = {name: tuple(guests) for name, guests in stages.items()}
        self.stage: str | None = None
        self.present: list[Guest] = []
        self._lane = lane

    def need(self, guest: Guest) -> None:
        """Makes sure that a guest is there: by the stage at hand, or else by the first that has it."""
        if guest not in self.present:
            self.enter(next(name for name, guests in self.stages.items() if guest in guests))

    @torch.inference_mode(False)  # or the ring's thread could not write into buffers made while sampling
    def enter(self, stage: str) -> None:
        """Changes the stage. Leaving comes first, so that two stages never add up."""
        if stage == self.stage:
            return
        wanted = self.stages[stage]
        for guest in [guest for guest in self.present if guest not in wanted]:
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
