"""Follows a computation and keeps its weights where they are needed, without the computation knowing.

Hooks before the modules of the joint model bring what is about to run; codecs come behind a stand-in whose methods do
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mova_core.codecs.base import AudioCodec, Codecs, TextEncoder, VideoCodec
from mova_core.inference.placement.lanes import Lane, lane_to
from mova_core.inference.placement.layout import AUDIO, MODES, TEXT, VIDEO, Layout, Mode, layout_of
from mova_core.inference.placement.needs import Need, Request, choose, needs_of, rooms_of, statement
from mova_core.inference.placement.parcel import Parcel
from mova_core.inference.placement.ring import Ring
from mova_core.inference.placement.room import room_on
from mova_core.inference.placement.turns import Guest, Turns
from mova_core.inference.placement.work import Run, work_of
from mova_core.models.dual_tower import DualTower
from mova_core.progress import say

WORK = ("encode", "encode_first_frame", "decode", "decode_parts")
"""Methods of a codec that use its weights."""
Hook = Callable[[nn.Module, Any], None]


class Placement:
    """Where the weights of a model and its codecs are.

    Parameters
    ----------
    model, codecs : best mapped from their files; nothing may change the weights from here on. Codecs that another
        placement moved are taken over from it, once that has sent its weights home. None for a model alone.
    device : where the computation runs.
    request : a memory mode, or `auto` for the fastest that fits.
    lane : how to get there; by default the device's own.

    Attributes
    ----------
    mode : the memory mode in force; None before `prepare`. Work that comes first chooses by weights alone.
    need : what that mode was found to take when it was chosen.
    """

    def __init__(
        self,
        model: DualTower,
        codecs: Codecs | None,
        device: torch.device,
        request: Request = "auto",
        lane: Lane | None = None,
    ) -> None:
        self.model = model
        self.own_codecs = None if codecs is None else _taken_over(codecs)
        self.device = device
        self.request: Request = request
        self.lane = lane or lane_to(device)
        self.layouts: dict[Mode, Layout] = {mode: layout_of(mode, model, self.own_codecs, self.lane) for mode in MODES}
        self.mode: Mode | None = None
        self.need: Need | None = None
        self._turns: Turns | None = None
        self._handles: list[RemovableHandle] = []
        self._work: dict[Run, dict[str, int]] = {}
        self._watch()

    def prepare(self, run: Run | None) -> None:
        """Chooses the memory mode for a run and says what each would take; None stands for weights alone.

        Raises
        ------
        UserError : if the mode asked for, or with `auto` every mode, needs more than is free; nothing has moved then.
        """
        new = run is not None and run not in self._work
        work = self._work_of(run)
        held = sum(guest.device_bytes for guest in self._turns.present) if self._turns and self.lane.own_memory else 0
        room = room_on(self.device, held)
        needs = needs_of(self.layouts, work, self.lane.own_memory, room)
        mode = choose(self.request, needs, room)
        if new:
            say(statement(needs, room, mode))
        self.need = needs[mode]
        self._use(mode, rooms_of(needs[mode], self.layouts[mode], work, self.lane.own_memory))

    def rest(self) -> None:
        """Sends everything home, and decides anew when the model next works."""
        self.close()
        self._watch()

    def close(self) -> None:
        """Sends everything home and stops following."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._turns is not None:
            self._turns.leave_all()
            self._turns = None
        for parcel in self.layouts["resident"].parcels():
            parcel.go_home()
        self.mode = None

    def enter(self, stage: str) -> None:
        """Brings who belongs to a stage."""
        self._decided().enter(stage)

    def _work_of(self, run: Run | None) -> dict[str, int]:
        if run is None:
            return {}
        if run not in self._work:
            self._work[run] = work_of(self.model, self.own_codecs, run)
        return self._work[run]

    def _use(self, mode: Mode, rooms: Mapping[str, int]) -> None:
        """Changes the memory mode and the rooms. Weights come when they are next needed."""
        if mode != self.mode:
            self.close()
            layout = self.layouts[mode]
            for parcel in layout.parcels():
                parcel.leave(self.lane)
            self.mode, self._turns = mode, Turns(layout.stages, self.lane)
            self._follow(layout)
        assert self._turns is not None
        self._turns.allow(rooms)

    def _watch(self) -> None:
        """Waits for the model to work before any mode is in force."""
        for module in dict.fromkeys(module for module, *_ in self.layouts["resident"].touches):
            self._handles.append(module.register_forward_pre_hook(_outside_graphs(self._decide_before)))

    def _decide_before(self, module: nn.Module, arguments: Any) -> None:
        turns = self._decided()
        assert self.mode is not None
        for other, guest, _ in self.layouts[self.mode].touches:
            if other is module:
                turns.need(guest)

    def _follow(self, layout: Layout) -> None:
        for module, guest, parcel in layout.touches:
            self._handles.append(module.register_forward_pre_hook(_outside_graphs(self._before(guest, parcel))))

    def _decided(self) -> Turns:
        if self._turns is None:
            self.prepare(None)
        assert self._turns is not None
        return self._turns

    def _before(self, guest: Guest, parcel: Parcel | None) -> Hook:
        def bring(module: nn.Module, arguments: Any) -> None:
            turns = self._decided()
            turns.need(guest)
            if isinstance(guest, Ring) and parcel is not None:
                guest.hold(parcel)

        return bring


def _outside_graphs(hook: Hook) -> Hook:
    """Moving weights is no part of a compiled graph."""
    hidden = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]  # untyped in PyTorch
    return cast(Hook, hidden)


class OnTurn:
    """A codec that comes to the device before it works; everything else is the codec's own."""

    def __init__(self, codec: object, placement: Placement, stage: str) -> None:
        self.codec = codec
        self.placement = placement
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.codec, name)
        if name not in WORK:
            return value

        def work(*arguments: Any, **options: Any) -> Any:
            self.placement.enter(self._stage)
            return value(*arguments, **options)

        return work


def on_turn(codecs: Codecs, placement: Placement) -> Codecs:
    """The codecs of a placement, each coming to the device when it works."""
    own = _taken_over(codecs)
    return Codecs(
        video=cast(VideoCodec, OnTurn(own.video, placement, VIDEO)),
        audio=cast(AudioCodec, OnTurn(own.audio, placement, AUDIO)),
        text=cast(TextEncoder, OnTurn(own.text, placement, TEXT)),
    )


def _taken_over(codecs: Codecs) -> Codecs:
    """The codecs themselves, their weights at home."""
    own: list[Any] = []
    for codec in (codecs.video, codecs.audio, codecs.text):
        if isinstance(codec, OnTurn):
            codec.placement.rest()
            own.append(codec.codec)
        else:
            own.append(codec)
    return Codecs(*own)
