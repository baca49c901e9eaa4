"""From pictures of any size and rate to the canonical ones: borders off, scaled to fit, padded, resampled in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# A row or column is border while at most this share of its pixels has ever been brighter than black: compression
# leaves specks beside the picture's edge.
SPECK_SHARE = 0.02
# What is left of a picture that is dark throughout is no picture; then nothing is cropped.
SMALLEST_KEPT_SHARE = 0.25


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


class BorderFinder:
    """Finds black borders over time: what never gets brighter than `black_level` from an edge inwards."""

    def __init__(self, black_level: int) -> None:
        self.black_level = black_level
        self._brightest: Pixels | None = None

    def add(self, frame: Pixels) -> None:
        """Takes one more RGB frame ``[H, W, 3]``; all have one size."""
        if self._brightest is None:
            self._brightest = frame.copy()
        else:
            np.maximum(self._brightest, frame, out=self._brightest)

    def box(self) -> Box:
        """The picture without its borders; the whole of it where (nearly) all is black.

        Raises
        ------
        ValueError : before the first frame.
        """
        if self._brightest is None:
            raise ValueError("no frame was added")
        bright = self._brightest.max(axis=2) > self.black_level
        height, width = bright.shape
        rows = np.flatnonzero(bright.mean(axis=1) > SPECK_SHARE)
        columns = np.flatnonzero(bright.mean(axis=0) > SPECK_SHARE)
        if not rows.size or not columns.size:
            return Box(0, 0, width, height)
        box = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        kept = (box.right - box.left) * (box.bottom - box.top)
        return box if kept >= SMALLEST_KEPT_SHARE * width * height else Box(0, 0, width, height)


@dataclass(frozen=True)
class Fit:
    """How a source's picture becomes a canonical one.

    Attributes
    ----------
    box : what is kept of the source's picture.
    picture : where it lies in the canonical frame; the rest of the frame is black, equal on opposite sides.
    """

    box: Box
    picture: Box
    width: int
    height: int

    def apply(self, frame: Pixels) -> Pixels:
        """One canonical frame ``[height, width, 3]``."""
        import cv2

        source = frame[self.box.top : self.box.bottom, self.box.left : self.box.right]
        size = (self.picture.right - self.picture.left, self.picture.bottom - self.picture.top)
        shrinks = size[0] < source.shape[1] or size[1] < source.shape[0]
        scaled = cv2.resize(source, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[self.picture.top : self.picture.bottom, self.picture.left : self.picture.right] = scaled
        return canvas

    def inner(self, frames: Pixels) -> Pixels:
        """Canonical frames ``[T, H, W, 3]`` without their padding."""
        return frames[:, self.picture.top : self.picture.bottom, self.picture.left : self.picture.right]


def fit_into(box: Box, width: int, height: int) -> Fit:
    """The largest picture of the box's shape that fits; its sides are even numbers, so that padding is symmetric.

    Parameters
    ----------
    width, height : of the canonical frame, even.
    """
    scale = min(width / (box.right - box.left), height / (box.bottom - box.top))
    across = min(max(2 * round((box.right - box.left) * scale / 2), 2), width)
    down = min(max(2 * round((box.bottom - box.top) * scale / 2), 2), height)
    left, top = (width - across) // 2, (height - down) // 2
    return Fit(box, Box(left, top, left + across, top + down), width, height)


def frames_on_screen(
    frame_seconds: Sequence[float] | NDArray[np.float64], start_seconds: float, fps: float, num_frames: int
) -> NDArray[np.int64]:
    """Which source frame each canonical frame shows: the one on screen in the middle of its time on screen.

    Canonical frame k is on screen from ``start_seconds + k / fps`` for ``1 / fps``; the source's last frame stays on.
    On average neither early nor late, whatever the source's rate, and right where one frame stays for long.

    Returns
    -------
    ``[num_frames]`` indices into `frame_seconds` (rising); 0 for instants before the first.
    """
    middles = start_seconds + (np.arange(num_frames) + 0.5) / fps
    return np.maximum(np.searchsorted(np.asarray(frame_seconds), middles, side="right") - 1, 0)
