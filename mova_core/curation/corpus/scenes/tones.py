"""The sounds of single events. Each starts at phase zero, so that equal events sound equal to the sample."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

ATTACK_SECONDS = 0.002
# Formant frequencies of adult vowels in Hz (Peterson and Barney 1952, rounded), with plausible bandwidths.
VOWELS: dict[str, tuple[tuple[float, float], ...]] = {
    "ah": ((730.0, 90.0), (1090.0, 110.0), (2440.0, 170.0)),
    "ee": ((280.0, 60.0), (2250.0, 130.0), (2950.0, 180.0)),
}
HIGHEST_HARMONIC_HZ = 4500.0


@cache
def struck(frequency_hz: float, partials: tuple[tuple[float, float, float], ...], sample_rate_hz: int) -> Floats:
    """A struck body: `partials` are (frequency ratio, amplitude, decay seconds). Peak 1."""
    longest = max(decay for _, _, decay in partials)
    seconds = np.arange(round(5 * longest * sample_rate_hz)) / sample_rate_hz
    wave = sum(
        amplitude * np.sin(2 * np.pi * frequency_hz * ratio * seconds) * np.exp(-seconds / decay)
        for ratio, amplitude, decay in partials
    )
    wave = np.asarray(wave) * np.minimum(seconds / ATTACK_SECONDS, 1)
    return _peak_one(wave)


@cache
def vowel(name: str, pitch_hz: float, sample_rate_hz: int, length_seconds: float = 1.0) -> Floats:
    """A steady voice: harmonics of `pitch_hz` that fall off by 1/k, shaped by the vowel's formants. Peak 1."""
    seconds = np.arange(round(length_seconds * sample_rate_hz)) / sample_rate_hz
    wave = np.zeros(seconds.size)
    for harmonic in range(1, int(HIGHEST_HARMONIC_HZ / pitch_hz) + 1):
        amplitude = _formant_gain(harmonic * pitch_hz, VOWELS[name]) / harmonic
        wave += amplitude * np.sin(2 * np.pi * harmonic * pitch_hz * seconds)
    return _peak_one(wave)


def hum(frequency_hz: Floats, sample_rate_hz: int) -> Floats:
    """A motor whose pitch follows `frequency_hz` (one value a sample), with overtones. Peak near 1."""
    phase = 2 * np.pi * np.cumsum(frequency_hz.astype(np.float64)) / sample_rate_hz
    wave = np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(4 * phase) + 0.2 * np.sin(7 * phase)
    hummed: Floats = (wave / 1.5).astype(np.float32)
    return hummed


def _formant_gain(frequency_hz: float, formants: tuple[tuple[float, float], ...]) -> float:
    """The magnitude of two-pole resonators in cascade, 1 at frequency 0."""
    gain = 1.0
    for centre, bandwidth in formants:
        squared = (centre**2 - frequency_hz**2) ** 2 + (bandwidth * frequency_hz) ** 2
        gain *= centre**2 / float(np.sqrt(squared))
    return gain


def _peak_one(wave: NDArray[np.float64]) -> Floats:
    scaled: Floats = (wave / np.abs(wave).max()).astype(np.float32)
    return scaled
