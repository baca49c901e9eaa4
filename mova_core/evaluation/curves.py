"""Instants read off a sampled curve, finer than its samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def rises(
    curve: Floats, rate_hz: float, *, base: float, min_share: float, min_ratio: float, min_gap_seconds: float
) -> Floats:
    """The instants at which a curve leaps up from a valley to a peak.

    Heights are above `base`. A leap multiplies the height by `min_ratio` at least, ends at a peak of at least
    `min_share` of the curve's highest, and is over when the curve has fallen by `min_ratio` again; so ripples on
    something loud or bright are no leaps. The instant is where the curve first passes halfway between valley and peak,
    linearly between samples.

    Parameters
    ----------
    curve : ``[N]``, sample n at ``n / rate_hz`` seconds.
    min_gap_seconds : of two leaps closer than this, the smaller is dropped.
    """
    heights = curve - base
    floor = float(heights.max()) * min_share / min_ratio
    if floor <= 0:
        return np.zeros(0)
    found: list[tuple[float, float]] = []
    for valley, peak in _climbs(np.log(np.maximum(heights, floor)), float(np.log(min_ratio))):
        height = float(curve[peak] - curve[valley])
        threshold = curve[valley] + height / 2
        below = valley + int(np.flatnonzero(curve[valley + 1 : peak + 1] >= threshold)[0])
        fraction = (threshold - curve[below]) / (curve[below + 1] - curve[below])
        instant = float((below + fraction) / rate_hz)
        if found and instant - found[-1][0] < min_gap_seconds:
            if height <= found[-1][1]:
                continue
            found.pop()
        found.append((instant, height))
    return np.array([instant for instant, _ in found], dtype=np.float64)


def _climbs(curve: Floats, min_height: float) -> list[tuple[int, int]]:
    """Pairs of valley and peak indices whose difference is at least `min_height`, by hysteresis."""
    pairs: list[tuple[int, int]] = []
    valley = peak = 0
    climbing = False
    for index in range(len(curve)):
        if climbing:
            if curve[index] > curve[peak]:
                peak = index
            elif curve[index] <= curve[peak] - min_height:
                pairs.append((valley, peak))
                climbing, valley = False, index
        elif curve[index] < curve[valley]:
            valley = index
        elif curve[index] >= curve[valley] + min_height:
            climbing, peak = True, index
    if climbing:
        pairs.append((valley, peak))
    return pairs


def corners(curve: Floats, rate_hz: float, *, min_height: float) -> Floats:
    """The instants at which a curve turns sharply from rising to falling, each side at least `min_height` high.

    The curve is taken to be straight on either side of the corner: lines through the two samples before and the two
    after it meet there. Corners in the two outermost samples at either end are not seen.
    """
    climbed = [peak for _, peak in _climbs(curve, min_height)]
    descended = {len(curve) - 1 - peak for _, peak in _climbs(curve[::-1], min_height)}
    # Seen from the other end, a top of two equal samples is its other sample.
    tops = [peak for peak in climbed if peak in descended or peak + 1 in descended]
    return np.array([_corner(curve, top) / rate_hz for top in tops], dtype=np.float64)


def _corner(curve: Floats, top: int) -> float:
    """Where the lines on either side of the highest sample meet, in samples."""
    if top < 2 or top > len(curve) - 3:
        return float(top)
    later = curve[top + 1] > curve[top - 1]
    left = top if later else top - 1
    rise = curve[left] - curve[left - 1]
    fall = curve[left + 2] - curve[left + 1]
    if rise - fall <= 0:
        return float(top)
    meeting = (curve[left + 1] - curve[left] - fall) / (rise - fall)
    return float(left + np.clip(meeting, 0.0, 1.0))


def smoothed(curve: Floats, width: int) -> Floats:
    """A Hann-weighted running mean over `width` samples (odd), with the ends held."""
    if width <= 1:
        return curve
    window = np.hanning(width + 2)[1:-1]
    held = np.pad(curve, width // 2, mode="edge")
    result: Floats = np.convolve(held, window / window.sum(), mode="valid")
    return result
