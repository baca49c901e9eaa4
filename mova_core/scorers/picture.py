"""Measures of moving pictures: uint8 RGB ``[T, H, W, 3]``, without padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Luma = NDArray[np.float32]

BLUR_TAPS = 9
# Least brightness step of a stroke, and the height of a line of lettering as a share of the picture's.
STROKE_LEVELS = 40.0
STRIP_SHARE = 0.06


def luma(frames: Frames) -> Luma:
    """Brightness ``[T, H, W]`` in 0..255 (BT.601 weights)."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    values: Luma = frames.astype(np.float32) @ weights
    return values


def motion(brightness: Luma) -> float:
    """Mean absolute change of brightness from frame to frame, in levels of 255; 0 for a still or a single frame."""
    if len(brightness) < 2:
        return 0.0
    return float(np.abs(np.diff(brightness, axis=0)).mean())


def blur(brightness: Luma) -> float:
    """Perceptual blur in 0 (sharp) to 1, the mean over the frames (Crete et al. 2007, "The blur effect").

    A picture is blurred once more: a sharp one loses most of the differences between its neighbouring pixels, a blurred
    one hardly any. Per direction, the share of differences that is left; the worse direction counts. A frame
    without any difference (one colour) counts as 1.
    """
    return float(np.mean([max(_lost(frame, 0), _lost(frame, 1)) for frame in brightness]))


def _lost(frame: Luma, axis: int) -> float:
    import cv2

    size = (1, BLUR_TAPS) if axis == 0 else (BLUR_TAPS, 1)
    smoothed = cv2.blur(frame, size, borderType=cv2.BORDER_REPLICATE)
    sharp = np.abs(np.diff(frame, axis=axis))
    soft = np.abs(np.diff(smoothed, axis=axis))
    total = float(sharp.sum())
    if total <= 0:
        return 1.0
    return 1.0 - float(np.maximum(sharp - soft, 0).sum()) / total


class OverlayFinder:
    """Lettering that stays where it is while the picture changes: what is burned in, not what is filmed.

    Takes frames from all over a source. Strokes are brightness steps from one column to the next that are there in
    every frame; lettering is a strip of rows full of them.
    """

    def __init__(self) -> None:
        self._smallest_step: Luma | None = None

    def add(self, frame: Frames) -> None:
        """Takes one more RGB frame ``[H, W, 3]``; all have one size."""
        steps = np.abs(np.diff(luma(frame[None])[0], axis=1))
        self._smallest_step = steps if self._smallest_step is None else np.minimum(self._smallest_step, steps)

    def score(self) -> float:
        """Share of strokes in the strip that has most of them, 0..1; 0 before the first frame."""
        if self._smallest_step is None:
            return 0.0
        strokes = (self._smallest_step > STROKE_LEVELS).mean(axis=1)
        height = max(round(STRIP_SHARE * strokes.size), 1)
        return float(np.convolve(strokes, np.full(height, 1 / height), "valid").max())
