"""The named colours of the corpus, and which of them may meet: in a picture, and on the two sides of a cut."""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]

# RGB, 0..255. Pastel: saturated shapes smear in a codec that averages 4x8x8 blocks.
OBJECT_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (232, 104, 100),
    "orange": (244, 164, 92),
    "yellow": (246, 222, 110),
    "green": (128, 206, 132),
    "blue": (112, 164, 236),
    "pink": (246, 162, 202),
    "white": (238, 238, 232),
}
DARK_BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "dark blue": (44, 62, 118),
    "brown": (112, 74, 44),
    "dark green": (42, 92, 62),
    "purple": (92, 50, 108),
    "grey": (104, 106, 110),
}
LIGHT_BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "sky blue": (140, 190, 226),
    "mint green": (152, 216, 178),
    "cream": (236, 224, 176),
    "lilac": (190, 168, 226),
    "peach": (240, 190, 160),
}
BACKGROUNDS = {**DARK_BACKGROUNDS, **LIGHT_BACKGROUNDS}

# The least distance in RGB at which a shape stands out from its background at 32 pixels.
READABLE_DISTANCE = 100.0
# The least mean change of hue, saturation and brightness (of 255) between the backgrounds on both sides of a cut.
CUT_DISTANCE = 30.0


def rgb(name: str) -> Colour:
    """A named colour as float32 ``[3]`` in 0..255."""
    return np.asarray(OBJECT_COLOURS.get(name) or BACKGROUNDS[name], np.float32)


def readable_colours(background: str) -> list[str]:
    """The object colours that stand out from `background`."""
    return [name for name in OBJECT_COLOURS if float(np.linalg.norm(rgb(name) - rgb(background))) >= READABLE_DISTANCE]


def backgrounds_after(previous: str | None, only_dark: bool) -> list[str]:
    """The backgrounds whose change from `previous` a cut detector cannot miss."""
    names = list(DARK_BACKGROUNDS if only_dark else BACKGROUNDS)
    if previous is None:
        return names
    return [name for name in names if cut_distance(previous, name) >= CUT_DISTANCE]


@cache
def cut_distance(first: str, second: str) -> float:
    """Mean absolute change of hue (0..180), saturation and brightness (0..255), as content detectors measure it."""
    return float(np.abs(_hsv(first) - _hsv(second)).mean())


def _hsv(name: str) -> NDArray[np.float64]:
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb(name) / 255))
    return np.asarray([hue * 180, saturation * 255, value * 255])
