"""AV-Align by its published conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mova_core.evaluation.av_align import (
    ANALYSIS_RATE_HZ,
    av_align,
    flow_peak_times,
    match_score,
    mel_filters,
    onset_times,
)


@pytest.mark.parametrize(
    ("onsets", "peaks", "fps", "score"),
    [
        ([], [], 25, 0.0),
        ([], [0.5], 25, 0.0),
        ([0.5], [0.54], 25, 0.0),  # 40 ms apart is not nearer than one frame
        ([0.5], [0.53], 25, 1.0),
        ([0.5, 0.51, 0.52], [0.5], 25, 1 / 3),  # a peak serves once
        ([0.5, 0.52], [0.51, 0.53], 25, 1.0),
        ([0.875, 1.5013, 1.9596, 2.7823], [0.4667, 0.5, 0.7333, 2.0, 2.2667, 2.6667, 2.8], 30, 0.1),
    ],
)
def test_matching_follows_the_published_rule(onsets: list[float], peaks: list[float], fps: float, score: float) -> None:
    assert match_score(onsets, peaks, fps) == pytest.approx(score)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_bursts_are_dated_within_one_hop(rate_hz: int) -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 1e-3, 2 * rate_hz)
    truth = [0.4, 0.9, 1.3]
    for instant in truth:
        first = round(instant * rate_hz)
        samples[first : first + 2000] += generator.normal(0, 0.3, 2000)
    found = onset_times(samples.astype(np.float32), rate_hz)
    later = found[found > 0.2]  # the start of the noise itself is an onset by the convention
    assert later == pytest.approx(truth, abs=0.035)


def test_silence_has_no_onset_and_a_still_picture_no_peak() -> None:
    assert len(onset_times(np.zeros(44_100, dtype=np.float32), 44_100)) == 0
    still = np.full((10, 32, 32, 3), 90, dtype=np.uint8)
    assert len(flow_peak_times(still, 24.0)) == 0
    assert av_align(still, np.zeros(20_000, dtype=np.float32), 24.0, 48_000) == 0.0


def test_a_sudden_jump_of_a_pattern_is_a_flow_peak() -> None:
    generator = np.random.default_rng(2)
    pattern = np.kron(generator.uniform(0, 255, (12, 12)), np.ones((4, 4)))
    frames = np.stack([np.roll(pattern, 3 if index >= 6 else 0, axis=1) for index in range(12)])
    clip = np.repeat(frames[..., None], 3, axis=-1).astype(np.uint8)
    assert flow_peak_times(clip, 24.0) == pytest.approx([6 / 24])


def test_synchronous_scenes_score_higher_than_silent_ones(stage: Any) -> None:
    scene = stage.ball((0.3, 0.8))
    assert av_align(scene.frames, scene.waveform, 24.0, 48_000) > 0.0
    assert av_align(scene.frames, np.zeros_like(scene.waveform), 24.0, 48_000) == 0.0


def test_mel_filters_have_unit_area_and_cover_the_band() -> None:
    filters = mel_filters()
    assert filters.shape == (128, 1025)
    bin_hz = ANALYSIS_RATE_HZ / 2048
    # The narrow low filters are sampled by too few bins for their area to come out; the wide ones show the norm.
    assert filters[80:].sum(axis=1) * bin_hz == pytest.approx(np.ones(48), rel=0.05)
    assert np.all(np.diff(filters.argmax(axis=1)) >= 0)
