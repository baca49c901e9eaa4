"""Measures of a waveform: float32 mono ``[S]`` in [-1, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

FRAME_SECONDS = 0.02
SILENCE_DBFS = -50.0
# BS.1770-4's absolute gate: what lies below it counts as silence, and silence is given this loudness.
QUIETEST_LUFS = -70.0
LOUDNESS_BLOCK_SECONDS = 0.4
BANDWIDTH_DECIBELS = 50.0
SPECTRUM_SAMPLES = 2048
# Lossy coding rounds clipped tops off; they come back within a tenth of full scale.
NEAR_FULL_SCALE = 0.9


def silence_ratio(waveform: Waveform, sample_rate_hz: int) -> float:
    """Share of 20 ms frames whose level is under -50 dBFS; 1 for a waveform shorter than a frame."""
    size = round(FRAME_SECONDS * sample_rate_hz)
    count = waveform.size // size
    if not count:
        return 1.0
    power = np.square(waveform[: count * size], dtype=np.float64).reshape(count, size).mean(axis=1)
    return float(np.mean(power < 10 ** (SILENCE_DBFS / 10)))


def bandwidth_hz(waveform: Waveform, sample_rate_hz: int) -> float:
    """The highest frequency whose mean power is within 50 dB of the strongest one's; 0 for digital silence."""
    count = waveform.size // SPECTRUM_SAMPLES
    if not count or not waveform.any():
        return 0.0
    frames = waveform[: count * SPECTRUM_SAMPLES].reshape(count, SPECTRUM_SAMPLES) * _hann(SPECTRUM_SAMPLES)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(axis=0)
    strong = np.flatnonzero(power >= power.max() * 10 ** (-BANDWIDTH_DECIBELS / 10))
    return float(strong[-1] * sample_rate_hz / SPECTRUM_SAMPLES)


def loudness_lufs(waveform: Waveform, sample_rate_hz: int) -> float:
    """Integrated loudness by ITU-R BS.1770-4, at least -70. Waveforms under 0.4 s are measured as one block."""
    import pyloudnorm

    if not np.any(np.abs(waveform) > 1e-6):
        return QUIETEST_LUFS
    block = min(LOUDNESS_BLOCK_SECONDS, waveform.size / sample_rate_hz)
    with np.errstate(divide="ignore"):
        loudness = pyloudnorm.Meter(sample_rate_hz, block_size=block).integrated_loudness(waveform.astype(np.float64))
    return max(float(loudness), QUIETEST_LUFS)


def clipping_ratio(waveform: Waveform) -> float:
    """Share of samples within a tenth of full scale."""
    return float(np.mean(np.abs(waveform) >= NEAR_FULL_SCALE)) if waveform.size else 0.0


def _hann(size: int) -> NDArray[np.float32]:
    window: NDArray[np.float32] = np.hanning(size).astype(np.float32)
    return window
