"""Follows a computation and keeps its weights where they are needed, without the computation knowing.

Hooks before the modules of the joint model bring what is about to run; codecs come behind a stand-in whose methods do
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mova_core.codecs.base import AudioCodec, Codecs, TextEncoder, VideoCodec
from mova_core.inference.placement.lanes import Lane, lane_to
from mova_core.inference.placement.layout import AUDIO, MODES, TEXT, VIDEO, Layout, Mode, layout_of
from mova_core.inference.placement.parcel import Parcel
from mova_core.inference.placement.ring import Ring
from mova_core.inference.placement.turns import Guest, Turns
from mova_core.models.dual_tower import DualTower

WORK = ("encode", "encode_first_frame", "decode")
"""Methods of a codec that use its weights."""


class Placement:
    """Where the weights of a model and its codecs are.

    Parameters
    ----------
    model, codecs : on the host, best mapped from their files; nothing may change the weights from here on.
    device : where the computation runs.
    lane : how to get there; by default the device's own.

    Attributes
    ----------
    codecs : the given ones, each coming to the device when it works.
    mode : the memory mode in force; None before `use`. What works before then makes everything resident.
    """

    def __init__(self, model: DualTower, codecs: Codecs, device: torch.device, lane: Lane | None = None) -> None:
        self.lane = lane or lane_to(device)
        self.layouts: dict[Mode, Layout] = {mode: layout_of(mode, model, codecs, self.lane) for mode in MODES}
        self.codecs = Codecs(
            video=cast(VideoCodec, OnTurn(codecs.video, lambda: self._enter(VIDEO))),
            audio=cast(AudioCodec, OnTurn(codecs.audio, lambda: self._enter(AUDIO))),
            text=cast(TextEncoder, OnTurn(codecs.text, lambda: self._enter(TEXT))),
        )
        self.mode: Mode | None = None
        self._turns: Turns | None = None
        self._handles: list[RemovableHandle] = []
        self._follow(self.layouts["resident"])

    def use(self, mode: Mode) -> None:
        """Changes the memory mode. Resident weights come at once, others when they are next needed."""
        if mode == self.mode:
            return
        self.close()
        layout = self.layouts[mode]
        for parcel in layout.parcels():
            parcel.leave(self.lane)
        self.mode, self._turns = mode, Turns(layout.stages, self.lane)
        if mode == "resident":
            self._turns.enter(VIDEO)
        else:
            self._follow(layout)

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

    def _follow(self, layout: Layout) -> None:
        for module, guest, parcel in layout.touches:
            self._handles.append(module.register_forward_pre_hook(self._before(guest, parcel)))

    def _decided(self) -> Turns:
        if self._turns is None:
            self.use("resident")
        assert self._turns is not None
        return self._turns

    def _enter(self, stage: str) -> None:
        self._decided().enter(stage)

    def _before(self, guest: Guest, parcel: Parcel | None) -> Callable[[nn.Module, Any], None]:
        def bring(module: nn.Module, arguments: Any) -> None:
            turns = self._decided()
            turns.need(guest)
            if isinstance(guest, Ring) and parcel is not None:
                guest.hold(parcel)

        # Moving weights is no part of a compiled graph.
        hidden = torch.compiler.disable(bring)  # type: ignore[no-untyped-call]  # untyped in PyTorch
        return cast(Callable[[nn.Module, Any], None], hidden)


class OnTurn:
    """A codec that comes to the device before it works; everything else is the codec's own."""

    def __init__(self, codec: object, enter: Callable[[], None]) -> None:
        self._codec = codec
        self._enter = enter

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._codec, name)
        if name not in WORK:
            return value

        def work(*arguments: Any, **options: Any) -> Any:
            self._enter()
            return value(*arguments, **options)

        return work
