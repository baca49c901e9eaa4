"""Who must be on the device when: the stages of a run, for each memory mode.

The text encoder and the two codecs have a stage each, and so has either expert:

- `resident`: the whole joint model, both experts, while it works.
- `swap`: the joint model with the expert in use.
- `stream`: as `swap`, but layers of the towers, of the Bridge and of the text encoder pass through a ring of buffers.

Who need not be there may stay from the stage before, where there is room (`mova_core.inference.placement.turns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from mova_core.codecs.base import Codecs
from mova_core.inference.placement.lanes import Lane
from mova_core.inference.placement.parcel import Parcel
from mova_core.inference.placement.ring import Ring
from mova_core.inference.placement.turns import Guest
from mova_core.models.dual_tower import DualTower

Mode = Literal["resident", "swap", "stream"]
MODES: tuple[Mode, ...] = ("resident", "swap", "stream")
"""Fastest first."""

TEXT, VIDEO, AUDIO = "text encoder", "video codec", "audio codec"
HIGH_NOISE, LOW_NOISE = "high-noise expert", "low-noise expert"
EXPERTS = (HIGH_NOISE, LOW_NOISE)


Cycles = Sequence[Sequence[Sequence[nn.Module]]]
"""Orders in which groups of modules are used again and again."""


@dataclass
class Layout:
    """Stages and what they need to follow the computation.

    Attributes
    ----------
    stages : by name, who must be on the device, in the order of a run.
    touches : what must be there before a module runs, and for a streamed layer also which parcel.
    """

    stages: dict[str, tuple[Guest, ...]]
    touches: list[tuple[nn.Module, Guest, Parcel | None]] = field(default_factory=list)

    def guests(self) -> list[Guest]:
        """Everyone who is on the device at some stage."""
        return list(_everyone(self.stages))

    def parcels(self) -> list[Parcel]:
        """Every parcel, streamed or not."""
        return [parcel for guest in self.guests() for parcel in guest.parcels]

    def whole(self, name: str, modules: Sequence[nn.Module], without: Sequence[Parcel] = ()) -> Parcel:
        """What the parcels in `without` leave of some modules, as one parcel that comes when one of them runs."""
        parcel = Parcel(name, modules, without)
        self.touches += [(module, parcel, None) for module in _entrances(modules)]
        return parcel

    def ring(self, name: str, cycles: Cycles, lane: Lane) -> Ring | None:
        """A ring through which the groups of `cycles` pass; None where there are none."""
        parcels = [
            [Parcel(f"layer {index} of the {name}", group) for index, group in enumerate(cycle)] for cycle in cycles
        ]
        if not any(parcels):
            return None
        ring = Ring(name, [cycle for cycle in parcels if cycle], lane)
        self.touches += [(module, ring, parcel) for parcel in ring.parcels for module in parcel.modules]
        return ring

    def codec(self, name: str, modules: Sequence[nn.Module], cycles: Cycles, lane: Lane) -> tuple[Guest, ...]:
        """A codec, with the groups of `cycles` streamed. What it works with is brought when it is called."""
        ring = self.ring(name, cycles, lane)
        whole = Parcel(name, modules, ring.parcels if ring else ())
        return (whole, ring) if ring else (whole,)


def layout_of(mode: Mode, model: DualTower, codecs: Codecs | None, lane: Lane) -> Layout:
    """The layout of a mode. All weights must be on the host: where they are now is their home."""
    layout = Layout(stages={})
    parts = () if codecs is None else ((TEXT, codecs.text), (VIDEO, codecs.video), (AUDIO, codecs.audio))
    for name, codec in parts:
        modules = codec_modules(codec)
        layers = encoder_layers(modules) if mode == "stream" and name == TEXT else []
        layout.stages[name] = layout.codec(name, modules, [[[layer] for layer in layers]], lane)
    joint = _joint_stages(layout, mode == "stream", model, lane)
    if mode == "resident":
        joint = dict.fromkeys(joint, _everyone(joint))
    layout.stages |= joint
    return layout


def _everyone(stages: Mapping[str, tuple[Guest, ...]]) -> tuple[Guest, ...]:
    return tuple(dict.fromkeys(guest for guests in stages.values() for guest in guests))


def _joint_stages(layout: Layout, streamed: bool, model: DualTower, lane: Lane) -> dict[str, tuple[Guest, ...]]:
    """The stages of the experts. Towers and Bridge have rings of their own: an evaluation without the Bridge passes its
    layers over, and the towers differ in depth."""
    towers = {HIGH_NOISE: model.video_dit, LOW_NOISE: model.video_dit_2}
    experts = {name: tower for name, tower in towers.items() if tower is not None}
    bridge, audio = model.dual_tower_bridge, model.audio_dit
    cycles: dict[str, Cycles] = {"video tower": [], "audio tower": [], "Bridge": []}
    if streamed:
        cycles["video tower"] = [[[block] for block in tower.blocks] for tower in experts.values()]
        cycles["audio tower"] = [[[block] for block in audio.blocks]]
        both_ways = zip(
            bridge.audio_to_video_conditioners.values(), bridge.video_to_audio_conditioners.values(), strict=True
        )
        cycles["Bridge"] = [[list(pair) for pair in both_ways]]
    rings = {name: layout.ring(name, found, lane) for name, found in cycles.items()}
    parcels = [parcel for ring in rings.values() if ring is not None for parcel in ring.parcels]
    present = tuple(ring for ring in rings.values() if ring is not None)
    shared = (layout.whole("audio tower", [audio], parcels), layout.whole("Bridge", [bridge], parcels))
    return {name: (layout.whole(name, [tower], parcels), *shared, *present) for name, tower in experts.items()}


def codec_modules(codec: object) -> list[nn.Module]:
    """The networks inside a codec: itself, or the attributes that are."""
    if isinstance(codec, nn.Module):
        return [codec]
    return [value for value in vars(codec).values() if isinstance(value, nn.Module)]


def encoder_layers(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers of a text encoder: what its outermost module lists hold."""
    layers: list[nn.Module] = []
    for module in modules:
        if isinstance(module, nn.ModuleList):
            layers += module
        else:
            layers += encoder_layers(module.children())
    return layers


def _entrances(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules and their children without those of lists: a tower's embeddings run before its layers."""
    for module in modules:
        yield module
        yield from (child for child in module.children() if not isinstance(child, nn.ModuleList | nn.ModuleDict))
