"""Offsets, misses, intervals and chance on events with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mova_core.evaluation.offsets import ClipEvents, SyncFigures, derangements, measure, signed_offsets

FRAME = 1 / 24
WINDOW_SECONDS = 1.375


def clip(video: list[float], audio: list[float], label: str = "lamp") -> ClipEvents:
    return ClipEvents(label, np.array(video), np.array(audio))


def figures(clips: list[ClipEvents], seed: int = 7) -> SyncFigures:
    return measure(clips, frame_seconds=FRAME, latent_frame_seconds=4 * FRAME, seed=seed)


def test_a_late_sound_has_a_positive_offset_from_both_sides() -> None:
    result = figures([clip([0.2, 0.9], [0.28, 0.98]), clip([0.5], [0.58])])
    for direction in (result.video_to_audio, result.audio_to_video):
        assert direction.offsets == pytest.approx([0.08] * 3)
        assert direction.median_abs_seconds.value == pytest.approx(0.08)
        assert direction.within_one_frame.value == 0.0
        assert direction.within_one_latent_frame.value == 1.0


def test_an_offset_of_exactly_one_frame_is_within_one_frame() -> None:
    result = figures([clip([10 / 24, 20 / 24], [11 / 24, 19 / 24])])
    assert result.video_to_audio.within_one_frame.value == 1.0


def test_an_event_without_any_sound_is_a_miss_and_stays_in_the_denominator() -> None:
    result = figures([clip([0.3], [0.3]), clip([0.4, 0.8], []), clip([0.5], [0.5])])
    seen = result.video_to_audio
    assert (seen.num_events, seen.num_missed) == (4, 2)
    assert seen.within_one_frame.value == pytest.approx(0.5)
    assert seen.median_abs_seconds.value == pytest.approx(0.0)
    assert result.num_clips_without_audible_event == 1


def test_a_spurious_onset_counts_against_the_clip_from_the_sound_s_side() -> None:
    result = figures([clip([0.3], [0.3, 1.0])])
    assert result.video_to_audio.within_one_frame.value == 1.0
    assert result.audio_to_video.within_one_frame.value == pytest.approx(0.5)
    assert result.audio_to_video.num_events == 2


def test_chance_of_uniform_events_is_near_its_analytic_value() -> None:
    generator = np.random.default_rng(3)
    times = generator.uniform(0, WINDOW_SECONDS, (300, 2))
    result = figures([clip([video], [video]) for video, _ in times])
    # Two points drawn uniformly from [0, T] lie within w of each other with probability 1 - (1 - w/T)^2.
    expected = 1 - (1 - FRAME / WINDOW_SECONDS) ** 2
    assert result.chance.within_one_frame.value == pytest.approx(expected, abs=0.02)
    assert result.chance.within_one_frame.low < expected < result.chance.within_one_frame.high
    assert result.chance.num_pairs == 300 * 299
    assert result.video_to_audio.within_one_frame.value == 1.0
    assert result.chance.p_value < 0.001


def test_independent_sounds_do_not_beat_chance() -> None:
    generator = np.random.default_rng(4)
    pairs = generator.uniform(0, WINDOW_SECONDS, (200, 2))
    result = figures([clip([video], [audio]) for video, audio in pairs])
    own, chance = result.video_to_audio.within_one_frame, result.chance.within_one_frame
    assert chance.low <= own.value <= chance.high
    assert result.chance.p_value > 0.05


def test_re_pairing_stays_within_a_class() -> None:
    lamps = [clip([0.2], [0.2], "lamp") for _ in range(4)]
    balls = [clip([1.0], [1.0], "ball") for _ in range(4)]
    result = figures(lamps + balls)
    assert result.chance.within_one_frame.value == 1.0
    assert result.chance.num_pairs == 2 * 4 * 3


def test_the_interval_covers_the_share_it_was_drawn_from() -> None:
    generator = np.random.default_rng(5)
    clips = [clip([0.5], [0.5 if hit else 1.0]) for hit in generator.random(120) < 0.6]
    share = figures(clips).video_to_audio.within_one_frame
    assert share.low < 0.6 < share.high
    # A share of 0.6 among 120 has a standard error of 0.045.
    assert 0.12 < share.high - share.low < 0.24


def test_equal_seeds_give_equal_figures() -> None:
    clips = [clip([0.1 * index, 0.9], [0.13 * index]) for index in range(9)]
    assert figures(clips, seed=1) == figures(clips, seed=1)


def test_nothing_to_measure_is_not_a_number_rather_than_a_score() -> None:
    result = figures([clip([], [0.4]), clip([], [])])
    assert math.isnan(result.video_to_audio.within_one_frame.value)
    assert result.audio_to_video.num_missed == 1
    assert result.audio_to_video.within_one_frame.value == 0.0


def test_the_nearest_partner_is_taken() -> None:
    offsets = signed_offsets(np.array([0.5, 1.0]), np.array([0.1, 0.56, 0.95]))
    assert offsets == pytest.approx([0.06, -0.05])


def test_no_item_of_a_derangement_meets_itself_and_each_meets_every_other() -> None:
    rows, columns = derangements(5, 400, np.random.default_rng(0))
    assert np.all(np.sort(rows, axis=1) == np.arange(5))
    assert np.all(np.sort(columns, axis=1) == np.arange(5))
    assert not np.any(rows == columns)
    assert len({(row, column) for row, column in zip(rows.ravel(), columns.ravel(), strict=True)}) == 20
