"""What is known to be true of a video: what each shot shows, when its events happen, what was spoilt on purpose.

Raw videos carry it as a JSON sidecar (``labels/<stem>.json``, a `SourceTruth`) on the raw video's clock, whose zero is
its first frame. `SourceTruth.window` projects it onto a clip, and the clip's row holds the result (`Truth`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mova_core.data.records import Event
from mova_core.errors import UserError

SCHEMA = "truth-1"
CURVE_HZ = 50.0
# Windows are cut on frames of another rate than the shots': less than this of a neighbouring shot shows no frame of it.
EDGE_SECONDS = 0.025


@dataclass(frozen=True)
class Truth:
    """The truth of one clip, on the clip's clock.

    Attributes
    ----------
    label : the class shown; where the clip shows several, all in order of appearance, joined by ``+``.
    events : visible events whose picture or sound falls inside the clip, in order. Times are those of the continuous
        event, not of the frame that first shows it, and exact to the audio sample.
    faults : names of what was spoilt, such as ``blur``.
    planted_offset_seconds : how much later than its picture the sound was put; negative if earlier.
    visual, speech, sound, music : caption parts; empty where there is nothing to say.
    cuts : instants of the hard cuts inside the clip.
    curve : for a class whose sound follows the picture all the time (mouth opening, wheel speed), that quantity in
        0..1 every ``1 / CURVE_HZ`` seconds from the clip's start; empty for other classes and for several shots.
    """

    label: str
    events: list[Event]
    faults: list[str]
    planted_offset_seconds: float
    visual: str
    speech: str
    sound: str
    music: str
    cuts: list[float] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)

    def to_json(self) -> str:
        """One line of JSON, equal for equal truths."""
        return _compact(asdict(self))

    @staticmethod
    def from_json(text: str) -> Truth:
        """Reads `to_json`'s line."""
        values: dict[str, Any] = json.loads(text)
        return Truth(**{**values, "events": [Event(**event) for event in values["events"]]})


@dataclass(frozen=True)
class Shot:
    """One shot of a raw video, on the raw video's clock; fields as in `Truth`, `curve` from the shot's start."""

    label: str
    start_seconds: float
    end_seconds: float
    visual: str
    speech: str
    sound: str
    music: str
    events: list[Event]
    curve: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """Something spoilt on purpose.

    Attributes
    ----------
    name : such as ``sound_shifted`` or ``black_borders``.
    detail : its size in words, such as ``sound 0.200 s late``.
    """

    name: str
    detail: str


@dataclass(frozen=True)
class SourceTruth:
    """The truth of one raw video."""

    video: str  # its file name
    duration_seconds: float
    shots: list[Shot]
    faults: list[Fault] = field(default_factory=list)
    planted_offset_seconds: float = 0.0

    def to_json(self) -> str:
        """JSON with a line for each shot, equal for equal truths."""
        values = {"schema": SCHEMA, **vars(self), "faults": [vars(fault) for fault in self.faults]}
        shots = [{**vars(shot), "events": [vars(event) for event in shot.events]} for shot in self.shots]
        lines = ",\n".join(_compact(shot) for shot in shots)
        return _compact({**values, "shots": []}).replace('"shots":[]', f'"shots":[\n{lines}\n]', 1) + "\n"

    @staticmethod
    def load(path: Path) -> SourceTruth:
        """Reads a sidecar.

        Raises
        ------
        UserError : if it is not one.
        """
        try:
            return _source_truth(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not a label sidecar ({type(error).__name__}: {error})",
                expected=f"JSON of the schema {SCHEMA}, as `mova corpus` writes it",
                remedy="mend or delete it",
            ) from error

    def window(self, start_seconds: float, duration_seconds: float) -> Truth:
        """The truth of the clip that begins at `start_seconds` and lasts `duration_seconds`.

        Raises
        ------
        ValueError : if no shot is seen in the window.
        """
        end = start_seconds + duration_seconds
        shots = [
            shot
            for shot in self.shots
            if shot.start_seconds < end - EDGE_SECONDS and shot.end_seconds > start_seconds + EDGE_SECONDS
        ]
        if not shots:
            raise ValueError(f"no shot of {self.video} overlaps {start_seconds:.3f} to {end:.3f} s")
        events = [
            replace(
                event,
                video_seconds=round(event.video_seconds - start_seconds, 6),
                audio_seconds=round(event.audio_seconds - start_seconds, 6),
            )
            for shot in shots
            for event in shot.events
            if start_seconds <= event.video_seconds < end or start_seconds <= event.audio_seconds < end
        ]
        return Truth(
            label="+".join(dict.fromkeys(shot.label for shot in shots)),
            events=sorted(events, key=lambda event: event.video_seconds),
            faults=[fault.name for fault in self.faults],
            planted_offset_seconds=self.planted_offset_seconds,
            visual="; then ".join(_distinct(shot.visual for shot in shots)),
            speech=" ".join(_distinct(shot.speech for shot in shots)),
            sound=", then ".join(_distinct(shot.sound for shot in shots)),
            music=", then ".join(_distinct(shot.music for shot in shots)),
            cuts=[round(shot.start_seconds - start_seconds, 6) for shot in shots[1:]],
            curve=_curve_within(shots[0], start_seconds, duration_seconds) if len(shots) == 1 else [],
        )


def _compact(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _source_truth(values: dict[str, Any]) -> SourceTruth:
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise ValueError(f"schema {schema!r}")
    shots = [Shot(**{**shot, "events": [Event(**event) for event in shot["events"]]}) for shot in values["shots"]]
    return SourceTruth(**{**values, "shots": shots, "faults": [Fault(**fault) for fault in values["faults"]]})


def _distinct(parts: Any) -> list[str]:
    return [part for part in dict.fromkeys(parts) if part]


def _curve_within(shot: Shot, start_seconds: float, duration_seconds: float) -> list[float]:
    if not shot.curve:
        return []
    count = round(duration_seconds * CURVE_HZ)
    first = (start_seconds - shot.start_seconds) * CURVE_HZ
    values = []
    for index in range(count):
        position = min(max(first + index, 0.0), len(shot.curve) - 1.0)
        low = int(position)
        high = min(low + 1, len(shot.curve) - 1)
        weight = position - low
        values.append(round(shot.curve[low] * (1 - weight) + shot.curve[high] * weight, 4))
    return values
