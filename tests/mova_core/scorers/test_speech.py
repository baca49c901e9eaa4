"""A voice is speech; a bell, a thud, hiss and silence are not."""

from __future__ import annotations

import numpy as np
import pytest

from mova_core.scorers.speech import pitched_frames, speech_segments

RATE_HZ = 48_000
SETTINGS = {"aggressiveness": 3, "min_speech_seconds": 0.12, "min_pause_seconds": 0.1, "min_pitched_share": 0.4}


def seconds(count: float) -> np.ndarray:
    return np.arange(round(count * RATE_HZ)) / RATE_HZ


def voice(count: float, pitch_hz: float) -> np.ndarray:
    """Harmonics of a pitch under two formants."""
    wave = np.zeros(round(count * RATE_HZ))
    for harmonic in range(1, 40):
        frequency = harmonic * pitch_hz
        gain = sum(1 / (1 + ((frequency - centre) / 120) ** 2) for centre in (700, 1100)) + 0.05
        wave += gain / harmonic * np.sin(2 * np.pi * frequency * seconds(count))
    return 0.4 * wave / np.abs(wave).max()


def struck(count: float, frequency_hz: float) -> np.ndarray:
    return 0.5 * sum(
        np.exp(-seconds(count) / 0.3) / ratio * np.sin(2 * np.pi * frequency_hz * ratio * seconds(count))
        for ratio in (1.0, 2.76, 5.4)
    )


def segments(*parts: np.ndarray) -> list[tuple[float, float]]:
    wave = np.concatenate(parts)
    wave = wave + 0.001 * np.random.default_rng(0).standard_normal(wave.size)
    return speech_segments(wave.astype(np.float32), RATE_HZ, **SETTINGS)


@pytest.mark.parametrize("pitch_hz", [90.0, 130.0, 210.0, 300.0])
def test_words_are_found_where_they_are(pitch_hz: float) -> None:
    found = segments(
        np.zeros(RATE_HZ), voice(0.5, pitch_hz), np.zeros(RATE_HZ), voice(0.4, pitch_hz), np.zeros(RATE_HZ)
    )
    assert len(found) == 2
    assert found[0][0] == pytest.approx(1.0, abs=0.08)
    assert found[1][0] == pytest.approx(2.5, abs=0.08)
    # The detector holds on for a moment after a word.
    assert 1.45 <= found[0][1] <= 1.85


def test_other_sounds_are_not_speech() -> None:
    assert segments(np.zeros(4800), struck(1.0, 660.0), struck(1.0, 1320.0), struck(0.5, 880.0)) == []
    assert segments(0.2 * np.random.default_rng(1).standard_normal(RATE_HZ)) == []
    assert segments(np.zeros(RATE_HZ)) == []


def test_a_short_pause_does_not_end_a_segment() -> None:
    settings = {**SETTINGS, "min_pause_seconds": 0.6}
    wave = np.concatenate([voice(0.4, 130.0), np.zeros(RATE_HZ // 2), voice(0.4, 130.0)]).astype(np.float32)
    assert len(speech_segments(wave, RATE_HZ, **settings)) == 1
    assert len(speech_segments(wave, RATE_HZ, **SETTINGS)) == 2


def test_pitch_is_the_fundamental_not_a_multiple_of_its_period() -> None:
    assert pitched_frames(voice(1.0, 110.0).astype(np.float32), RATE_HZ).mean() > 0.9
    for frequency in (440.0, 660.0, 1320.0):
        tone = np.sin(2 * np.pi * frequency * seconds(1.0)).astype(np.float32)
        assert pitched_frames(tone, RATE_HZ).mean() < 0.1


def test_only_the_rates_that_the_detector_knows() -> None:
    with pytest.raises(ValueError, match="44100"):
        speech_segments(np.zeros(44_100, np.float32), 44_100, **SETTINGS)
