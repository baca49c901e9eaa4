"""Detectors and figures on rendered scenes whose events and offsets are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mova_core.evaluation.audible import audible_events
from mova_core.evaluation.sync import SyncResult, sync_report
from mova_core.evaluation.visible import visible_events

FPS, RATE_HZ = 24.0, 48_000
LABELS = ("lamp", "face", "ball", "wheel")
EVENTS = ((0.31,), (0.27, 0.83), (0.4, 1.02), (0.36, 0.79, 1.2), (0.55, 0.98))


def report(scenes: list[Any]) -> SyncResult:
    return sync_report(
        [scene.frames for scene in scenes],
        [scene.waveform for scene in scenes],
        [scene.label for scene in scenes],
        FPS,
        RATE_HZ,
        seed=0,
    )


@pytest.mark.parametrize("size", [64, 32])
@pytest.mark.parametrize("label", LABELS)
def test_every_event_is_found_in_picture_and_sound_and_nothing_else(stage: Any, label: str, size: int) -> None:
    for seed, events in enumerate(EVENTS):
        scene = stage.scene(label, events, size=size, seed=seed)
        seen = visible_events(scene.frames, label, FPS)
        heard = audible_events(scene.waveform, label, RATE_HZ)
        # Half a frame is what an instantaneous flash leaves open; swelling events are dated halfway up (40 ms later).
        assert seen == pytest.approx(events, abs=0.055)
        assert heard == pytest.approx(events, abs=0.055)


@pytest.mark.parametrize("late_seconds", [0.08, -0.06, 0.0])
@pytest.mark.parametrize("label", LABELS)
def test_a_planted_offset_is_measured_with_its_sign(stage: Any, label: str, late_seconds: float) -> None:
    scenes = [stage.scene(label, events, late_seconds, seed=seed) for seed, events in enumerate(EVENTS)]
    result = report(scenes)
    assert result.counts["visible_events"] == sum(len(events) for events in EVENTS)
    assert np.median(result.overall.video_to_audio.offsets) == pytest.approx(late_seconds, abs=0.012)
    expected = 1.0 if abs(late_seconds) < 1 / FPS else 0.0
    assert result.within_one_frame == pytest.approx(expected, abs=0.15)


def test_a_silent_clip_misses_all_its_events(stage: Any) -> None:
    scene = stage.lamp((0.3, 0.9))
    silent = np.zeros_like(scene.waveform)
    result = sync_report([scene.frames], [silent], ["lamp"], FPS, RATE_HZ, seed=0)
    assert result.counts["visible_events_missed"] == 2
    assert result.within_one_frame == 0.0


def test_a_still_picture_holds_no_event_and_its_sounds_are_misses(stage: Any) -> None:
    scenes = [stage.scene(label, (0.5,)) for label in LABELS]
    still = [np.repeat(scene.frames[:1], len(scene.frames), axis=0) for scene in scenes]
    result = sync_report(still, [scene.waveform for scene in scenes], LABELS, FPS, RATE_HZ, seed=0)
    assert result.counts["visible_events"] == 0
    assert result.counts["audible_events_missed"] == 4


def test_camera_noise_alone_holds_no_event() -> None:
    generator = np.random.default_rng(1)
    noise = np.clip(generator.normal(128, 3, (33, 64, 64, 3)), 0, 255).astype(np.uint8)
    for label in LABELS:
        assert len(visible_events(noise, label, FPS)) == 0


def test_figures_are_given_per_class(stage: Any) -> None:
    good = [stage.lamp(events, seed=seed) for seed, events in enumerate(EVENTS)]
    bad = [stage.ball(events, 0.1, seed=seed) for seed, events in enumerate(EVENTS)]
    result = report(good + bad)
    assert result.per_class["lamp"].video_to_audio.within_one_frame.value == 1.0
    assert result.per_class["ball"].video_to_audio.within_one_frame.value < 0.2
    assert set(result.per_class) == {"lamp", "ball"}


def test_an_unknown_class_is_refused_by_name(stage: Any) -> None:
    scene = stage.lamp((0.3,))
    with pytest.raises(ValueError, match=r"'violin'.*lamp, face, ball, wheel"):
        visible_events(scene.frames, "violin", FPS)
    with pytest.raises(ValueError, match="'violin'"):
        audible_events(scene.waveform, "violin", RATE_HZ)
