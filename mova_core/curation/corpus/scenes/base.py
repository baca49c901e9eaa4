"""What a class of the corpus has to offer, and the tools that all of them draw and sound with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mova_core.curation.corpus import palette
from mova_core.curation.corpus.plan import ShotPlan, Stroke
from mova_core.data.truth import CURVE_HZ

Floats = NDArray[np.floating[Any]]
Frames = NDArray[np.uint8]

# Fine enough that a frame's exposure is an average over many steps.
DENSE_HZ = 2000.0
# Pictures are blended this many frames at a time, so that the work stays within the processor's cache.
FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class CaptionParts:
    """What a shot shows and sounds like, true of every part of it that is long enough to hold an event."""

    visual: str
    speech: str
    sound: str


class Scene(Protocol):
    """A class: one visible quantity, the `drive`, moves the picture and its sound together."""

    follows: bool  # whether the sound follows the drive all the time, so that the truth carries it as a curve

    def drive(self, shot: ShotPlan, seconds: Floats) -> Floats:
        """The quantity in 0..1 at instants of the shot: light, mouth opening, impact, speed."""
        ...

    def frames(self, shot: ShotPlan, width: int, height: int) -> Frames:
        """All pictures of the shot, ``[num_frames, height, width, 3]``."""
        ...

    def sound(self, shot: ShotPlan, sample_rate_hz: int, num_samples: int) -> Floats:
        """The shot's sound, without the noise floor."""
        ...

    def caption(self, shot: ShotPlan) -> CaptionParts:
        """The shot in words."""
        ...


class Canvas:
    """Pixel coordinates of a picture, in units of its smaller side, the origin in its centre and y downward."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.pixels = min(width, height)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.pixels)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self.pixels)[:, None]

    def background(self, name: str) -> Floats:
        """``[H, W, 3]``: the colour, a little darker towards the bottom."""
        shade = 1.06 - 0.12 * (np.arange(self.height, dtype=np.float32) / self.height)
        plain = np.broadcast_to(palette.rgb(name), (self.height, self.width, 3))
        return np.clip(plain * shade[:, None, None], 0, 255).astype(np.float32)

    def disc(self, x: float, y: float, radius: float) -> Floats:
        """Coverage ``[H, W]`` in 0..1 of a disc, its edge one pixel soft."""
        return self._soft(radius - np.hypot(self.x - x, self.y - y))

    def box(self, x: float, y: float, half_width: float, half_height: float) -> Floats:
        """Coverage of a rectangle."""
        return self._soft(np.minimum(half_width - np.abs(self.x - x), half_height - np.abs(self.y - y)))

    def ellipses(self, x: float, y: Floats, half_width: Floats, half_height: Floats) -> Floats:
        """Coverage ``[T, H, W]`` of one ellipse a frame; `y`, `half_width` and `half_height` are ``[T]``."""
        across = ((self.x - x)[None] / half_width[:, None, None]) ** 2
        down = ((self.y[None] - y[:, None, None]) / half_height[:, None, None]) ** 2
        smaller = np.minimum(half_width, half_height)[:, None, None]
        return self._soft((1 - np.sqrt(across + down)) * smaller)

    def _soft(self, inside: Floats) -> Floats:
        coverage: Floats = np.clip(inside * self.pixels + 0.5, 0, 1).astype(np.float32)
        return coverage


def painted(image: Floats, coverage: Floats, colour: Floats) -> Floats:
    """`image` ``[..., H, W, 3]`` with `colour` laid over it where `coverage` ``[..., H, W]`` says."""
    result: Floats = image + coverage[..., None] * (colour - image)
    return result


def with_article(words: str) -> str:
    """ "a" or "an", then the words."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def as_pixels(image: Floats) -> Frames:
    pixels: Frames = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return pixels


def in_blocks(num_frames: int) -> Iterator[slice]:
    """Consecutive slices that cover the frames."""
    for first in range(0, num_frames, FRAMES_AT_ONCE):
        yield slice(first, min(first + FRAMES_AT_ONCE, num_frames))


def dense_instants(shot: ShotPlan) -> Floats:
    """Instants every ``1 / DENSE_HZ`` seconds from half a frame before the shot to its end, at steps' middles."""
    count = round((shot.num_frames + 1) / shot.fps * DENSE_HZ)
    return ((np.arange(count) + 0.5) / DENSE_HZ - 0.5 / shot.fps).astype(np.float32)


def exposed(shot: ShotPlan, dense: Floats) -> Floats:
    """The mean of a `dense_instants` quantity over each frame's exposure, ``[num_frames]``.

    A frame is open for its whole interval, centred on its presentation time. So the picture neither leads nor lags
    the sound on average; an instantaneous picture would show every event half a frame late.
    """
    total = np.concatenate([[0.0], np.cumsum(dense, dtype=np.float64)])
    edges = np.arange(shot.num_frames + 1) / shot.fps * DENSE_HZ
    at_edges = np.interp(edges, np.arange(total.size), total)
    means: Floats = (np.diff(at_edges) / (DENSE_HZ / shot.fps)).astype(np.float32)
    return means


def decays(strokes: Sequence[Stroke], seconds: Floats, time_constant: float) -> Floats:
    """Jumps to each stroke's strength, then falls off exponentially; a new stroke takes over from the old one."""
    result = np.zeros(seconds.shape, np.float32)
    for stroke in strokes:
        since = seconds - stroke.seconds
        value = stroke.strength * np.exp(-np.maximum(since, 0) / time_constant)
        result = np.where(since >= 0, np.maximum(value, result), result).astype(np.float32)
    return result


def truth_curve(scene: Scene, shot: ShotPlan) -> list[float]:
    """The drive every ``1 / CURVE_HZ`` seconds, for classes whose sound follows it; otherwise empty."""
    if not scene.follows:
        return []
    instants = np.arange(int((shot.end_seconds - shot.start_seconds) * CURVE_HZ) + 1, dtype=np.float32) / CURVE_HZ
    return [round(float(value), 3) for value in scene.drive(shot, instants)]


def laid_out(units: Sequence[tuple[int, Floats]], num_samples: int) -> Floats:
    """Sums sounds that start at the given samples; what lasts beyond `num_samples` is cut off."""
    result = np.zeros(num_samples, np.float32)
    for start, unit in units:
        length = min(unit.size, num_samples - start)
        if length > 0:
            result[start : start + length] += unit[:length]
    return result
