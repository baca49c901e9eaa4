"""Where a single-coloured object is in a clip: its vertical centre, frame by frame.

The object is told from what else changes (light on a floor, its own trail in the background estimate) by its colour,
which is the colour that what stands before the background has most often.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova_core.evaluation.curves import Floats

Frames = npt.NDArray[np.uint8]

# Colour distances are summed over the three channels, 0..765.
MIN_FOREGROUND = 60.0
SAME_COLOUR = 45.0
FOREGROUND_SHARE = 0.4
COLOUR_BIN = 16
# Distances from the object's colour: surely it, and surely not. The wider range takes in its soft edge and its trail.
LIKENESS_RANGE = (30.0, 90.0)
COVER_RANGE = (30.0, 120.0)
# A frame in which less than this share of the usual area is seen does not place the object.
MIN_AREA_SHARE = 0.2


def depth_curve(frames: Frames) -> Floats | None:
    """Vertical centre ``[T]`` of the moving object, 0 at the top and 1 at the bottom of the picture.

    Frames that hide the object are interpolated. None where nothing stands out from the background.
    """
    likeness = _likeness(frames, LIKENESS_RANGE)
    if likeness is None:
        return None
    area = likeness.sum(axis=(1, 2))
    seen = area > MIN_AREA_SHARE * np.median(area)
    if seen.sum() < 2:
        return None
    rows = (np.arange(frames.shape[1]) + 0.5) / frames.shape[1]
    centre = (likeness.sum(axis=2) * rows).sum(axis=1)[seen] / area[seen]
    curve: Floats = np.interp(np.arange(len(frames)), np.flatnonzero(seen), centre)
    return curve


def never_covered(frames: Frames) -> npt.NDArray[np.bool_] | None:
    """The pixels ``[H, W]`` that the object and its soft edge leave free in every frame; None as for `depth_curve`."""
    import cv2

    likeness = _likeness(frames, COVER_RANGE)
    if likeness is None:
        return None
    covered = np.asarray((likeness > 0).any(axis=0), dtype=np.uint8)
    free: npt.NDArray[np.bool_] = cv2.dilate(covered, np.ones((3, 3), dtype=np.uint8)) == 0
    return free


def _likeness(frames: Frames, colour_range: tuple[float, float]) -> Floats | None:
    """How much each pixel ``[T, H, W]`` before the background has the object's colour, 0..1.

    Full up to the first distance of `colour_range` from it, none from the second on.
    """
    colours = frames.astype(np.float64)
    strength = _distance(colours, backdrop(frames))
    usual_peak = float(np.median(strength.max(axis=(1, 2))))
    if usual_peak < MIN_FOREGROUND:
        return None
    foreground = strength > FOREGROUND_SHARE * usual_peak
    near, far = colour_range
    distance = _distance(colours, _commonest(colours[foreground]))
    likeness: Floats = np.clip((far - distance) / (far - near), 0.0, 1.0) * foreground
    return likeness


def backdrop(frames: Frames) -> Floats:
    """The picture ``[H, W, 3]`` without the moving object, also where it stays for most of the clip.

    That is the median over time; where a changing pixel's median differs from its row's, the row's stands in.
    """
    median = np.median(frames, axis=0)
    row = np.median(median, axis=1, keepdims=True)
    changing = _distance(frames.astype(np.float64), median).max(axis=0) > MIN_FOREGROUND
    covered = changing & (_distance(median, row) > SAME_COLOUR)
    result: Floats = np.where(covered[..., None], row, median)
    return result


def _distance(one: Floats, other: Floats) -> Floats:
    """Summed absolute difference over the last axis."""
    distance: Floats = np.abs(one - other).sum(axis=-1)
    return distance


def _commonest(colours: Floats) -> Floats:
    """The mode ``[3]`` of colours ``[N, 3]``: the fullest histogram bin, refined by what lies near it."""
    bins = (colours // COLOUR_BIN).astype(np.int64) @ np.array([256 * 256, 256, 1])
    values, counts = np.unique(bins, return_counts=True)
    mode = colours[bins == values[counts.argmax()]].mean(axis=0)
    result: Floats = colours[_distance(colours, mode) < SAME_COLOUR].mean(axis=0)
    return result
