"""Measures of what codecs lose, on losses that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_release import tiny_text_encoder

from mova_core.codecs.base import Codecs
from mova_core.codecs.nano_audio import NanoAudioCodec
from mova_core.codecs.nano_video import NanoVideoCodec
from mova_core.codecs.quality import Quality, decibels, onset_shift_seconds
from mova_core.codecs.reading import DecodedClip

RATE = 48000


def bell_at(seconds: float, level: float = 0.5) -> np.ndarray[Any, np.dtype[np.float32]]:
    since = np.arange(66000) / RATE - seconds
    ringing = (since >= 0) * np.exp(-np.maximum(since, 0) / 0.1) * np.sin(2 * np.pi * 1000 * since)
    return (level * ringing).astype(np.float32)


@pytest.mark.parametrize("shift", [-0.02, -0.003, 0.0, 0.0015, 0.03])
def test_a_late_or_early_onset_is_found_with_its_sign(shift: float) -> None:
    assert onset_shift_seconds(bell_at(0.5), bell_at(0.5 + shift, level=0.2), RATE) == pytest.approx(shift, abs=0.0006)


def test_the_most_sudden_onset_counts() -> None:
    several = bell_at(0.2, 0.02) + bell_at(0.7)
    assert onset_shift_seconds(several, several, RATE) == 0.0


@pytest.mark.parametrize("kind", ["steady", "silent", "short"])
def test_sounds_without_an_attack_are_left_out(kind: str) -> None:
    steady = np.sin(2 * np.pi * 440 * np.arange(66000) / RATE).astype(np.float32)
    waveform = {"steady": steady, "silent": 0 * steady, "short": steady[:900]}[kind]
    assert onset_shift_seconds(waveform, waveform, RATE) is None


def test_decibels_are_ratios_of_power() -> None:
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
    assert decibels(1.0, 0.0) > 300


def test_figures_of_real_codecs(
    video_codec: NanoVideoCodec, audio_codec: NanoAudioCodec, held_out_clips: list[Any], tmp_path: Path
) -> None:
    codecs = Codecs(video_codec, audio_codec, tiny_text_encoder(tmp_path))
    quality = Quality()
    for clip in held_out_clips:
        quality.add(codecs, DecodedClip({(64, 64): clip.frames}, clip.waveform, 1.0))
    metrics = quality.metrics()
    assert metrics["psnr_db_64x64"] > 38
    assert metrics["audio_snr_db"] > 19
    assert metrics["onset_clips"] == len(held_out_clips)
    assert metrics["onset_error_ms_median"] <= 2
    assert metrics["video_latent_std"] == pytest.approx(1.0, abs=0.3)
    assert metrics["audio_latent_std"] == pytest.approx(1.0, abs=0.3)
