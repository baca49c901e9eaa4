"""A beep on a flash is found where it was put; unrelated pictures and sounds do not agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mova_core.scorers.onsets import (
    correlations,
    has_onset,
    onset_agreement,
    onset_offset,
    picture_onset_curve,
    sound_onset_curve,
)

FPS, RATE_HZ, SECONDS = 24.0, 48_000, 4.0
EVENTS = (0.5, 1.25, 1.7083333, 2.625, 3.3333333)


def flashes(events: tuple[float, ...] = EVENTS) -> np.ndarray:
    """Brightness ``[T, 8, 8]`` of a lamp that lights up in the frame of each event and fades."""
    times = np.arange(round(SECONDS * FPS)) / FPS
    light = np.zeros(times.size)
    for event in events:
        since = times - round(event * FPS) / FPS
        light = np.maximum(light, np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.15), 0))
    return (40 + 180 * light)[:, None, None] * np.ones((1, 8, 8), np.float32)


def beeps(offset: float, events: tuple[float, ...] = EVENTS, noise: float = 0.001, seed: int = 0) -> np.ndarray:
    """A decaying 1 kHz tone `offset` seconds after each event, over faint noise."""
    times = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    wave = noise * np.random.default_rng(seed).standard_normal(times.size)
    for event in events:
        since = times - (round(event * FPS) / FPS + offset)
        wave += np.where(since >= 0, 0.5 * np.exp(-np.maximum(since, 0) / 0.1) * np.sin(2 * np.pi * 1000 * since), 0)
    return wave.astype(np.float32)


def change(brightness: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(brightness, axis=0, prepend=brightness[:1])).mean(axis=(1, 2))


def test_sound_of_another_scene_has_no_offset() -> None:
    picture = picture_onset_curve(change(flashes()))
    elsewhere = sound_onset_curve(beeps(0.0, events=(0.2, 0.9, 2.1, 2.2, 3.0)), RATE_HZ)
    assert math.isnan(onset_offset(picture, np.arange(picture.size) / FPS, elsewhere))


@pytest.mark.parametrize("offset", [-0.3, -0.1, -1 / 24, 0.0, 0.02, 1 / 24, 0.125, 0.25])
def test_a_beep_is_found_within_a_frame_of_where_it_was_put(offset: float) -> None:
    lags = np.arange(-120, 121) / 240
    picture, sound = picture_onset_curve(change(flashes())), sound_onset_curve(beeps(offset), RATE_HZ)
    found = correlations(picture, np.arange(picture.size) / FPS, sound, lags)
    assert lags[np.nanargmax(found)] == pytest.approx(offset, abs=1 / FPS)
    assert onset_offset(picture, np.arange(picture.size) / FPS, sound) == pytest.approx(offset, abs=1 / FPS)


def test_agreement_is_high_in_sync_and_low_out_of_it() -> None:
    assert onset_agreement(flashes(), FPS, beeps(0.0), RATE_HZ) > 0.8
    assert onset_agreement(flashes(), FPS, beeps(0.035), RATE_HZ) > 0.7
    assert onset_agreement(flashes(), FPS, beeps(0.2), RATE_HZ) < 0.2
    assert onset_agreement(flashes(), FPS, beeps(-0.15), RATE_HZ) < 0.2


def test_agreement_does_not_depend_on_level_or_brightness() -> None:
    reference = onset_agreement(flashes(), FPS, beeps(0.0), RATE_HZ)
    assert onset_agreement(0.3 * flashes(), FPS, 0.05 * beeps(0.0), RATE_HZ) == pytest.approx(reference, abs=0.02)


def test_nothing_to_compare_is_not_a_number() -> None:
    still, hiss = np.full((96, 8, 8), 90, np.float32), beeps(0.0, events=(), noise=0.1)
    assert math.isnan(onset_agreement(still, FPS, beeps(0.0), RATE_HZ))
    assert math.isnan(onset_agreement(flashes(), FPS, np.zeros(RATE_HZ, np.float32), RATE_HZ))
    assert math.isnan(onset_agreement(flashes(), FPS, hiss, RATE_HZ))


def test_a_cut_is_no_onset() -> None:
    pictures = np.concatenate([np.full((48, 8, 8), 50, np.float32), np.full((48, 8, 8), 200, np.float32)])
    assert has_onset(picture_onset_curve(change(pictures)), 0.5)
    assert not picture_onset_curve(change(pictures), cut_frames=[48]).any()
    assert math.isnan(onset_agreement(pictures, FPS, beeps(0.0), RATE_HZ, cut_frames=[48]))


@pytest.mark.parametrize("length", [0, 1, 100, 4801])
def test_short_waveforms_have_curves(length: int) -> None:
    curve = sound_onset_curve(np.ones(length, np.float32), RATE_HZ)
    assert curve.size == round(length / 200)
    assert np.isfinite(curve).all()
