"""When something visibly happens: one detector a class, blind to sound and to the corpus' truth.

Each turns the frames into one curve (brightness of what glows, openness of a mouth, depth of a ball, speed of a
pattern) and reads the instants off it. The curve comes from the pixels that change most, found in the clip itself, so
position, size and resolution do not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mova_core.evaluation.curves import Floats, corners, rises, smoothed
from mova_core.evaluation.tracking import depth_curve

Frames = npt.NDArray[np.uint8]

LUMINANCE = np.array([0.299, 0.587, 0.114])
# A curve must move by this share of its own range to hold an event, and the range must exceed the class' floor.
MIN_SHARE = 0.3


def visible_events(frames: Frames, label: str, fps: float) -> Floats:
    """Seconds of the visible events of a clip.

    Parameters
    ----------
    frames : uint8 ``[T, H, W, 3]``, RGB.
    label : the class that the clip was asked to show; it chooses the detector and nothing else.

    Raises
    ------
    ValueError : for a class without a detector.
    """
    if label not in DETECTORS:
        raise ValueError(f"no detector of visible events for class {label!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[label](frames, fps)


def lamp_flashes(frames: Frames, fps: float) -> Floats:
    """Instants at which the lamp lights up: its brightness passes halfway."""
    brightness = glow_curve(frames)
    return rises(brightness, fps, min_height=_height(brightness, 6.0), level=0.5, min_gap_seconds=2 / fps)


def mouth_openings(frames: Frames, fps: float) -> Floats:
    """Instants at which the mouth opens: its openness passes halfway."""
    openness = openness_curve(frames)
    return rises(openness, fps, min_height=_height(openness, 4.0), level=0.5, min_gap_seconds=2 / fps)


def ball_bounces(frames: Frames, fps: float) -> Floats:
    """Instants at which the ball turns upwards."""
    depth = depth_curve(frames)
    if depth is None:
        return np.zeros(0)
    return corners(depth, fps, min_height=_height(depth, 0.02))


def wheel_starts(frames: Frames, fps: float) -> Floats:
    """Instants at which the wheel gathers speed: its speed passes halfway.

    A change between two frames belongs halfway between them, hence the half frame.
    """
    speed = smoothed(speed_curve(frames), 3)
    return rises(speed, fps, min_height=_height(speed, 1.5), level=0.5, min_gap_seconds=3 / fps) + 0.5 / fps


DETECTORS: dict[str, Callable[[Frames, float], Floats]] = {
    "lamp": lamp_flashes,
    "face": mouth_openings,
    "ball": ball_bounces,
    "wheel": wheel_starts,
}


def _height(curve: Floats, floor: float) -> float:
    """How far a curve must move to hold an event: a share of its range, but at least `floor`."""
    return max(MIN_SHARE * float(curve.max() - curve.min()), floor)


def luminance(frames: Frames) -> Floats:
    """``[T, H, W]`` in 0..255."""
    grey: Floats = frames.astype(np.float64) @ LUMINANCE
    return grey


def glow_curve(frames: Frames) -> Floats:
    """Mean luminance ``[T]`` of the pixels that brighten, weighted by how much they do."""
    grey = luminance(frames)
    weight = _change_weight(grey)
    curve: Floats = (grey * weight).sum(axis=(1, 2))
    return curve


def openness_curve(frames: Frames) -> Floats:
    """How far darkness replaces skin where the picture changes ``[T]``; an open mouth is darker than a closed one."""
    grey = luminance(frames)
    weight = _change_weight(grey)
    curve: Floats = -(grey * weight).sum(axis=(1, 2))
    return curve


def speed_curve(frames: Frames) -> Floats:
    """Mean absolute luminance change ``[T - 1]`` to the next frame, over the pixels that change most."""
    grey = luminance(frames)
    weight = _change_weight(grey)
    curve: Floats = (np.abs(np.diff(grey, axis=0)) * weight).sum(axis=(1, 2))
    return curve


def _change_weight(grey: Floats) -> Floats:
    """``[H, W]``, sums to one: variance over time, with what is weaker than a tenth of the strongest left out."""
    variance = grey.var(axis=0)
    kept = np.maximum(variance - 0.1 * variance.max(), 0.0)
    total = kept.sum()
    weight: Floats = kept / total if total > 0 else np.full(variance.shape, 1.0 / variance.size)
    return weight
