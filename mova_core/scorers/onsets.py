"""Onsets of picture and sound, and how well they agree in time. Nothing here knows what is shown.

A curve holds one non-negative strength an instant: how much the picture's change grows, how much the sound grows.
Sound curves run at `SOUND_CURVE_HZ`, so that lags are found finer than a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]

SOUND_CURVE_HZ = 240.0
SPECTRUM_SECONDS = 0.010
NUM_BANDS = 24
LOWEST_BAND_HZ = 60.0
FLOOR_DECIBELS = -60.0
SPECTRA_AT_ONCE = 256  # they stay within the processor's cache
# Strengths enter by their square root: one loud bang must not outvote all other onsets.
COMPRESSION = 0.5
# An onset exists where a curve's peak reaches this (levels of 255; decibels) and stands out from the curve's mean.
PICTURE_ONSET_LEVELS, SOUND_ONSET_DECIBELS, STANDS_OUT = 0.5, 1.5, 3.0
# Offsets are looked for this far; the best one counts if the curves correlate this much there. Whole videos of the demo
# corpus reach 0.46 to 0.81 at their offset, and 0.03 to 0.14 elsewhere.
FARTHEST_OFFSET_SECONDS, RELATED, ELSEWHERE_SECONDS = 0.5, 0.3, 0.1


def onset_agreement(
    brightness: NDArray[np.float32],
    fps: float,
    waveform: NDArray[np.float32],
    sample_rate_hz: int,
    cut_frames: Sequence[int] = (),
) -> float:
    """Correlation of picture and sound onsets, the best one with the sound shifted by at most a frame either way.

    On the demo corpus (windows of 1.4 s): 0.65 in the median, 0.33 at the first percentile; with the sound 0.1 s late
    or of another instant 0.08 in the median, 0.27 to 0.41 at the 95th percentile.

    Parameters
    ----------
    brightness : float32 ``[T, H, W]``.
    cut_frames : first frames of new shots; the picture's change there is no onset.

    Returns
    -------
    -1..1, or NaN where picture or sound has no onset to compare.
    """
    if len(brightness) < 2:
        return math.nan
    change = np.abs(np.diff(brightness, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    picture = picture_onset_curve(np.concatenate([change[:1], change]), cut_frames)
    sound = sound_onset_curve(waveform, sample_rate_hz)
    if not has_onset(picture, PICTURE_ONSET_LEVELS) or not has_onset(sound, SOUND_ONSET_DECIBELS):
        return math.nan
    return float(np.nanmax(correlations(picture, np.arange(picture.size) / fps, sound, _lags_within(1 / fps))))


def onset_offset(picture: Curve, frame_seconds: NDArray[np.float64], sound: Curve) -> float:
    """How much later the sound is than the picture, in seconds within +-0.5, over all onsets of a video.

    Parameters
    ----------
    picture : `picture_onset_curve` of its frames, and `frame_seconds` their instants.
    sound : `sound_onset_curve` of its sound, from the instant 0 on.

    Returns
    -------
    The lag of the highest correlation; NaN where that is under 0.3 or less than twice as high as elsewhere (few onsets
    fit anywhere), or where picture or sound has no onset.
    """
    if not has_onset(picture, PICTURE_ONSET_LEVELS) or not has_onset(sound, SOUND_ONSET_DECIBELS):
        return math.nan
    lags = _lags_within(FARTHEST_OFFSET_SECONDS)
    found = correlations(picture, frame_seconds, sound, lags)
    best = int(np.nanargmax(found))
    elsewhere = np.nanmax(found[np.abs(lags - lags[best]) > ELSEWHERE_SECONDS])
    return float(lags[best]) if found[best] >= max(RELATED, 2 * elsewhere) else math.nan


def correlations(picture: Curve, frame_seconds: NDArray[np.float64], sound: Curve, lags: Curve) -> Curve:
    """Correlation of the two curves for each lag in seconds (positive: the sound comes later), ``[len(lags)]``.

    The sound of a frame is that from half a frame before its instant to half a frame after. NaN where the sound's
    curve is flat.
    """
    strengths = picture**COMPRESSION
    strengths = strengths - strengths.mean()
    summed = np.concatenate([[0.0], np.cumsum(sound**COMPRESSION)])
    half_frame = 0.5 * float(np.median(np.diff(frame_seconds)))
    instants = frame_seconds + lags[:, None]
    edges = np.clip(np.stack([instants - half_frame, instants + half_frame]) * SOUND_CURVE_HZ, 0, sound.size)
    early, late = np.interp(edges, np.arange(summed.size), summed)
    heard = late - early
    heard -= heard.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(heard).sum(axis=1) * np.square(strengths).sum())
    result: Curve = np.divide(heard @ strengths, lengths, out=np.full(len(lags), np.nan), where=lengths > 0)
    return result


def _lags_within(seconds: float) -> Curve:
    steps = round(SOUND_CURVE_HZ * seconds)
    return np.arange(-steps, steps + 1) / SOUND_CURVE_HZ


def has_onset(curve: Curve, least: float) -> bool:
    """Whether the curve's peak reaches `least` and stands out from its mean."""
    return bool(curve.size and curve.max() >= max(least, STANDS_OUT * curve.mean()))


def picture_onset_curve(change: Curve, cut_frames: Sequence[int] = ()) -> Curve:
    """How much the change from frame to frame grows, ``[T]``; 0 at a cut.

    Parameters
    ----------
    change : mean absolute change of brightness of each frame from the one before, in levels of 255, ``[T]``.
    cut_frames : first frames of new shots.
    """
    smooth = change.copy()
    for frame in cut_frames:
        smooth[frame] = smooth[frame - 1]
    growth: Curve = np.maximum(np.diff(smooth, prepend=smooth[:1]), 0)
    return growth


def sound_onset_curve(waveform: NDArray[np.float32], sample_rate_hz: int) -> Curve:
    """Growth of level, the mean over bands, in decibels a step; value i belongs to ``i / SOUND_CURVE_HZ`` seconds.

    Levels more than 60 dB under the loudest band's peak are held at that floor, so faint hiss has no onsets.
    """
    hop = sample_rate_hz / SOUND_CURVE_HZ
    count = round(waveform.size / hop)
    if count < 2:
        return np.zeros(count)
    levels = _band_levels(waveform, sample_rate_hz, np.rint(np.arange(count) * hop).astype(np.int64))
    growth: Curve = np.maximum(np.diff(levels, axis=0, prepend=levels[:1]), 0).mean(axis=1)
    return growth


def _band_levels(waveform: NDArray[np.float32], sample_rate_hz: int, instants: NDArray[np.int64]) -> Curve:
    """Decibels under the loudest, ``[len(instants), bands]``, of the spectrum centred on each instant."""
    size = round(SPECTRUM_SECONDS * sample_rate_hz)
    padded = np.pad(waveform, (size // 2, size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    taper = np.hanning(size).astype(np.float32)
    edges = np.geomspace(LOWEST_BAND_HZ, sample_rate_hz / 2, NUM_BANDS + 1)[:-1] * size / sample_rate_hz
    first_bins = np.unique(np.minimum(np.floor(edges).astype(np.int64), size // 2))
    bands = np.empty((instants.size, first_bins.size), np.float32)
    for block in range(0, instants.size, SPECTRA_AT_ONCE):
        part = slice(block, block + SPECTRA_AT_ONCE)
        spectra = np.fft.rfft(windows[instants[part]] * taper, axis=1)
        bands[part] = np.add.reduceat(spectra.real**2 + spectra.imag**2, first_bins, axis=1)
    loudest = float(bands.max())
    if loudest <= 0:
        return np.zeros(bands.shape)
    levels: Curve = np.maximum(10 * np.log10(np.maximum(bands / loudest, 1e-12)), FLOOR_DECIBELS)
    return levels
