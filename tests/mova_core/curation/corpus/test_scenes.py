"""In every class the picture and the sound say the same at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import webrtcvad

from mova_core.curation.corpus.plan import VideoPlan
from mova_core.curation.corpus.render import shot_pictures, shot_sound, video_truth
from mova_core.curation.corpus.scenes import SCENES

OneShot = Callable[..., VideoPlan]
CLASSES = ("lamp", "face", "ball", "wheel")


def change_per_frame(frames: np.ndarray) -> np.ndarray:
    """Mean change from the frame before; element k belongs to frame k + 1."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("sample_rate_hz", [48_000, 44_100])
def test_sound_starts_on_the_stated_sample_and_not_before(one_shot: OneShot, label: str, sample_rate_hz: int) -> None:
    plan = one_shot(label, (1.1003,), sample_rate_hz=sample_rate_hz)
    sound = np.abs(shot_sound(plan, 0))
    (event,) = video_truth(plan, "x.mp4").shots[0].events
    start = event.audio_seconds * sample_rate_hz
    assert start == pytest.approx(round(start), abs=0.1)
    assert event.audio_seconds == pytest.approx(event.video_seconds, abs=0.5 / sample_rate_hz + 1e-6)
    before = round(start)
    assert sound[:before].max() < 0.012  # the noise floor
    assert sound[before : before + round(0.008 * sample_rate_hz)].max() > 0.04
    assert 0.0015 < np.sqrt((sound[:before] ** 2).mean()) < 0.0025


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("size", [64, 32])
def test_the_picture_changes_when_the_event_comes(one_shot: OneShot, label: str, size: int) -> None:
    """Nothing moves before the event; the largest change, also at 32 pixels, is at the frame nearest to it."""
    plan = one_shot(label, (1.0417,), before_seconds=-0.05, colour="pink")
    frames = shot_pictures(plan, 0)
    small = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    change = change_per_frame(small)
    peak = int(np.argmax(change)) + 1
    assert abs(peak / plan.fps - 1.0417) <= 1 / plan.fps
    if label != "ball":
        assert change[: peak - 2].max() < 0.02 * change.max()
    assert change.max() > 0.7


@pytest.mark.parametrize("label", ["lamp", "face"])
def test_on_average_the_picture_neither_leads_nor_lags(one_shot: OneShot, label: str) -> None:
    """Where half of the rise is reached, between frames, lies within a fifth of a frame of the event on average."""
    errors = []
    for phase in np.linspace(0, 1, 8, endpoint=False):
        instant = (20 + phase) / 24
        frames = shot_pictures(one_shot(label, (instant,)), 0).astype(np.float64)
        still = frames[:15].mean(axis=0)
        moved = np.abs(frames - still).sum(axis=(1, 2, 3))
        first = int(np.argmax(moved > moved.max() / 2))
        low, high = moved[first - 1], moved[first]
        errors.append((first - 1 + (moved.max() / 2 - low) / (high - low)) - instant * 24)
    assert abs(np.mean(errors)) < 0.2
    assert np.abs(errors).max() < 0.7


def test_the_mouth_opens_as_far_as_the_voice_is_loud(one_shot: OneShot) -> None:
    plan = one_shot("face")
    frames, sound = shot_pictures(plan, 0).astype(np.float64), shot_sound(plan, 0)
    opening = np.abs(frames - frames[0]).sum(axis=(1, 2, 3))
    edges = np.clip(np.rint((np.arange(len(frames) + 1) - 0.5) * 2000).astype(int), 0, sound.size)
    loudness = np.asarray([np.sqrt((sound[a:b] ** 2).mean()) for a, b in itertools.pairwise(edges)])
    assert np.corrcoef(opening, loudness)[0, 1] > 0.97


def test_the_wheel_turns_as_fast_as_its_hum_is_high(one_shot: OneShot) -> None:
    slow, fast = one_shot("wheel", tone=0), one_shot("wheel", tone=1)
    assert change_per_frame(shot_pictures(fast, 0)).mean() > 1.3 * change_per_frame(shot_pictures(slow, 0)).mean()
    assert pitch_after(fast, 0.72) > 1.5 * pitch_after(slow, 0.72)
    assert pitch_after(slow, 0.72) > 1.15 * pitch_after(slow, 1.2)


def pitch_after(plan: VideoPlan, seconds: float) -> float:
    """The strongest frequency of the 80 ms from `seconds` on, in Hz."""
    start = round(seconds * plan.sample_rate_hz)
    part = shot_sound(plan, 0)[start : start + round(0.08 * plan.sample_rate_hz)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(part.size), 1 << 15))
    return float(np.argmax(spectrum) * plan.sample_rate_hz / (1 << 15))


def test_a_larger_ball_sounds_deeper(one_shot: OneShot) -> None:
    plans = [one_shot("ball", tone=tone) for tone in range(3)]
    pitches = [pitch_after(plan, 0.713) for plan in plans]
    sizes = [np.abs(shot_pictures(plan, 0)[8].astype(float) - [44, 62, 118]).sum(-1) > 200 for plan in plans]
    assert pitches[0] > pitches[1] > pitches[2]
    assert sizes[0].sum() < sizes[1].sum() < sizes[2].sum()


def test_the_ball_is_lowest_at_its_impacts(one_shot: OneShot) -> None:
    plan = one_shot("ball", (0.75, 1.5), colour="white")
    frames = shot_pictures(plan, 0).astype(np.float64)
    ball = frames[:, :46].min(axis=-1) > 200  # above the floor
    rows = np.asarray([np.argwhere(mask)[:, 0].mean() for mask in ball])
    assert {int(np.argmax(rows[10:26])) + 10, int(np.argmax(rows[28:44])) + 28} == {18, 36}


@pytest.mark.parametrize(("tone", "vowel"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("aggressiveness", [2, 3])
def test_a_voice_detector_hears_the_face_speak(one_shot: OneShot, tone: int, vowel: int, aggressiveness: int) -> None:
    heard, pauses = voiced_shares(one_shot("face", tone=tone, vowel=vowel), aggressiveness)
    assert heard > 0.8
    assert pauses < 0.5


@pytest.mark.parametrize("tone", [0, 1])
def test_a_voice_detector_does_not_take_the_bell_for_speech(one_shot: OneShot, tone: int) -> None:
    assert voiced_shares(one_shot("lamp", tone=tone), 3)[0] < 0.5


def voiced_shares(plan: VideoPlan, aggressiveness: int) -> tuple[float, float]:
    """Share of 20 ms frames called speech within 0.2 s after the events, and everywhere else."""
    detector = webrtcvad.Vad(aggressiveness)
    samples = np.clip(shot_sound(plan, 0) * 32768, -32768, 32767).astype(np.int16)
    count = samples.size // 960
    speech = np.asarray([detector.is_speech(samples[k * 960 : (k + 1) * 960].tobytes(), 48_000) for k in range(count)])
    middle = (np.arange(count) + 0.5) * 0.02
    during = np.zeros(count, bool)
    for stroke in plan.shots[0].strokes:
        during |= (middle > stroke.seconds) & (middle < stroke.seconds + 0.2)
    return float(speech[during].mean()), float(speech[~during].mean())


@pytest.mark.parametrize("label", CLASSES)
def test_the_sound_ends_with_the_shot(one_shot: OneShot, label: str) -> None:
    plan = one_shot(label, (0.5, 2.5))
    sound = shot_sound(plan, 0)
    assert sound.size == 2.75 * 48_000
    assert np.abs(sound[-24:]).max() < 0.05


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("size", [(64, 64), (128, 72), (100, 76)])
def test_every_size_and_colour_draws(one_shot: OneShot, label: str, size: tuple[int, int]) -> None:
    plan = one_shot(label, size=size, fps=30000 / 1001, background="cream", colour="red", scale=1.1)
    frames = shot_pictures(plan, 0)
    assert frames.shape == (82, size[1], size[0], 3)
    assert frames.std() > 10


@pytest.mark.parametrize("label", CLASSES)
def test_captions_name_what_is_shown_whatever_the_wording(one_shot: OneShot, label: str) -> None:
    for variant in range(6):
        for colour in ("orange", "blue"):
            caption = SCENES[label].caption(one_shot(label, variant=variant, colour=colour).shots[0])
            assert label in caption.visual
            assert colour in caption.visual
            assert "dark blue" in caption.visual
            assert " a orange" not in f" {caption.visual}"
            assert bool(caption.speech) == (label == "face")
            assert bool(caption.sound) == (label != "face")
    words = {SCENES[label].caption(one_shot(label, variant=variant).shots[0]) for variant in range(6)}
    assert len(words) >= 3


def test_captions_tell_the_tones_apart(one_shot: OneShot) -> None:
    def said(label: str, **changes: Any) -> str:
        caption = SCENES[label].caption(one_shot(label, **changes).shots[0])
        return f"{caption.speech} {caption.sound}"

    assert "low" in said("lamp", tone=0)
    assert "high" in said("lamp", tone=1)
    assert 'a low voice says "ah"' in said("face", tone=0, vowel=0)
    assert 'a high voice says "ee"' in said("face", tone=1, vowel=1)
    assert "deep" in said("ball", tone=2)


@pytest.mark.parametrize("label", ["face", "wheel"])
def test_the_truths_curve_is_the_drive(one_shot: OneShot, label: str) -> None:
    curve = np.asarray(video_truth(one_shot(label, (1.0,)), "x.mp4").shots[0].curve)
    assert len(curve) == 138
    assert curve[:50].max() == 0
    assert curve[51:54].mean() > 0.7
    assert curve[-1] < 0.01
