"""Sounds with known level, bandwidth and clipping are measured as such."""

from __future__ import annotations

import numpy as np
import pytest

from mova_core.scorers.sound import bandwidth_hz, clipping_ratio, loudness_lufs, silence_ratio

RATE_HZ = 48_000


def tone(frequency_hz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)


def test_loudness_of_the_reference_tone() -> None:
    # BS.1770-4: a 997 Hz sine at full scale in one channel is -3.01 LUFS.
    assert loudness_lufs(tone(997, 2.0, 1.0), RATE_HZ) == pytest.approx(-3.01, abs=0.05)
    assert loudness_lufs(tone(997, 1.375, 0.1), RATE_HZ) == pytest.approx(-23.01, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.39])
def test_short_sounds_have_a_loudness(seconds: float) -> None:
    assert loudness_lufs(tone(997, seconds, 1.0), RATE_HZ) == pytest.approx(-3.0, abs=0.5)


def test_silence_has_the_least_loudness_and_no_bandwidth() -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    assert loudness_lufs(silence, RATE_HZ) == -70.0
    assert loudness_lufs(tone(997, 1.0, 1e-5), RATE_HZ) == -70.0
    assert bandwidth_hz(silence, RATE_HZ) == 0.0
    assert silence_ratio(silence, RATE_HZ) == 1.0


def test_silence_ratio_is_the_share_of_quiet_time() -> None:
    half = np.concatenate([tone(440, 1.0), np.zeros(3 * RATE_HZ, np.float32)])
    assert silence_ratio(half, RATE_HZ) == pytest.approx(0.75, abs=0.01)
    assert silence_ratio(np.zeros(10, np.float32), RATE_HZ) == 1.0


@pytest.mark.parametrize("highest", [800.0, 3000.0, 12_000.0])
def test_bandwidth_is_the_highest_strong_frequency(highest: float) -> None:
    wave = tone(200, 1.0) + tone(highest, 1.0, 0.1) + tone(20_000, 1.0, 1e-4)
    assert bandwidth_hz(wave, RATE_HZ) == pytest.approx(highest, abs=120)


def test_clipping_ratio_counts_samples_near_full_scale() -> None:
    assert clipping_ratio(tone(440, 1.0, 0.89)) == 0.0
    clipped = np.clip(tone(440, 1.0, 4.0), -1, 1)
    expected = 1 - 2 / np.pi * np.arcsin(0.9 / 4)
    assert clipping_ratio(clipped) == pytest.approx(expected, abs=0.01)
