"""Who describes a clip. Every captioner gives the same four parts, whether it knows, measures or asks a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mova_core.data.media import read_clip
from mova_core.data.records import Clip

PART_NAMES = ("visual", "speech", "sound", "music")


@dataclass(frozen=True)
class CaptionParts:
    """What a clip shows and sounds like. A part of which there is nothing is empty.

    Attributes
    ----------
    visual : what is seen.
    speech : who speaks, and the words in double quotes.
    sound : other sound.
    music : music.
    """

    visual: str
    speech: str
    sound: str
    music: str

    @staticmethod
    def from_json(text: str) -> CaptionParts:
        """Reads an object with the four parts, each a string or null; other keys are left alone.

        Raises
        ------
        ValueError : if it is not such an object.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a caption is {type(values).__name__}, expected an object with {', '.join(PART_NAMES)}")
        parts = {name: values.get(name) for name in PART_NAMES}
        for name, part in parts.items():
            if name not in values or not (part is None or isinstance(part, str)):
                raise ValueError(f"part {name!r} of a caption is {part!r}, expected a string or null")
        return CaptionParts(**{name: " ".join((part or "").split()) for name, part in parts.items()})


class Captioner(Protocol):
    """Describes clips.

    Attributes
    ----------
    name : goes into the manifest: what said so, for a model with its revision.
    """

    @property
    def name(self) -> str: ...

    def describe(self, clip: Clip, path: Path) -> CaptionParts | None:
        """The parts of one clip, whose file is at `path`; None if this captioner knows nothing of it."""
        ...


class LabelsCaptioner:
    """Takes the caption from the truth that a labelled source carries."""

    name = "labels"

    def describe(self, clip: Clip, path: Path) -> CaptionParts | None:
        return CaptionParts.from_json(clip.truth_json) if clip.truth_json else None


# Centres of the basic colours of English (Berlin and Kay 1969) in RGB.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (15, 15, 15),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "red": (200, 35, 35),
    "orange": (240, 140, 40),
    "yellow": (240, 220, 60),
    "green": (50, 150, 60),
    "blue": (40, 80, 200),
    "purple": (120, 50, 150),
    "pink": (240, 150, 190),
    "brown": (110, 70, 35),
}
COLOUR_SHARE = 0.2
STILL_LEVELS, LIVELY_LEVELS = 0.5, 4.0
LEAST_SPEECH_RATIO = 0.2
QUIET_LUFS, LOUD_LUFS = -35.0, -18.0
DULL_HZ = 4_000.0
SILENT_RATIO = 0.99


class MeasuredCaptioner:
    """Says of any clip what its scores and its colours say, and no more."""

    name = "measured"

    def describe(self, clip: Clip, path: Path) -> CaptionParts | None:
        frames, _ = read_clip(path)
        shots = "one shot" if clip.num_cuts == 0 else f"{clip.num_cuts + 1} shots"
        movement = _band(clip.motion, (STILL_LEVELS, LIVELY_LEVELS), ("almost still", "moving a little", "lively"))
        visual = f"a {' and '.join(main_colours(frames))} picture, {movement}, in {shots}"
        if clip.silence_ratio >= SILENT_RATIO:
            return CaptionParts(visual, "", "", "")
        loudness = _band(clip.loudness_lufs, (QUIET_LUFS, LOUD_LUFS), ("quiet", "moderately loud", "loud"))
        if clip.speech_ratio >= LEAST_SPEECH_RATIO:
            return CaptionParts(visual, f"a {loudness} voice speaks", "", "")
        timbre = "dull" if clip.bandwidth_hz < DULL_HZ else "bright"
        return CaptionParts(visual, "", f"{loudness}, {timbre} sound", "")


def main_colours(frames: NDArray[np.uint8]) -> list[str]:
    """The basic colours that cover a fifth of the pictures ``[T, H, W, 3]`` or more, most first; at least one."""
    pixels = frames[:: max(len(frames) // 4, 1), ::2, ::2].reshape(-1, 3).astype(np.float32)
    centres = np.asarray(list(COLOURS.values()), np.float32)
    nearest = np.square(pixels[:, None] - centres).sum(axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(COLOURS)) / len(pixels)
    order = np.argsort(-shares, kind="stable")
    names = list(COLOURS)
    return [names[index] for place, index in enumerate(order) if place == 0 or shares[index] >= COLOUR_SHARE]


def _band(value: float, limits: tuple[float, float], words: tuple[str, str, str]) -> str:
    return words[sum(value >= limit for limit in limits)]
