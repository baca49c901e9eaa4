"""The parts of the report: examples, curves, numbers, and the detectors' errors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova_core.data.media import read_clip
from mova_core.data.records import Event
from mova_core.data.truth import Truth
from mova_core.evaluation.examples import make_cell, spread_over_labels, strip
from mova_core.evaluation.history import NUM_POINTS, read_history
from mova_core.evaluation.measuring import ClipMeasures, detector_errors, spread
from mova_core.evaluation.offsets import ClipEvents
from mova_core.evaluation.plots import number


def test_examples_are_spread_over_the_classes_in_the_order_of_ids() -> None:
    labels = {"c": "lamp", "a": "lamp", "b": "lamp", "e": "face", "d": "ball"}
    assert spread_over_labels(labels, 4) == ["d", "e", "a", "b"]
    assert spread_over_labels(labels, 9) == ["d", "e", "a", "b", "c"]
    assert spread_over_labels({}, 3) == []


def test_a_cell_holds_the_whole_clip_enlarged(stage: Any, tmp_path: Path) -> None:
    scene = stage.lamp((0.4,), size=32)
    cell = make_cell(scene.frames, scene.waveform, None, 24.0, 48_000, pixels=128)
    head, content = cell.video.split(",", 1)
    assert head == "data:video/mp4;base64"
    path = tmp_path / "clip.mp4"
    path.write_bytes(base64.b64decode(content))
    frames, waveform = read_clip(path)
    assert frames.shape == (33, 128, 128, 3)
    assert waveform.shape == scene.waveform.shape


def test_a_strip_marks_every_event_at_its_instant() -> None:
    events = ClipEvents("lamp", np.array([0.5]), np.array([0.25, 0.75]))
    picture = strip(np.zeros(1000, np.float32), events, seconds=1.0)
    assert picture.count('fill="#2457d6"') == 1
    assert picture.count('fill="#d9730d"') == 2
    assert " 80.0,8" in picture  # the middle of 160


def test_numbers_are_written_as_the_field_does() -> None:
    assert [number(value) for value in (0.664, 0.0, 1.0, 0.999, float("nan"))] == [".66", ".00", "1.00", "1.00", "-"]


def test_curves_are_thinned_and_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "audio_loss": 2.0, "learning_rate": 0.1}) for step in range(1000)]
    path.write_text("\n".join(lines) + '\n{"step": 1000, "audio_l')
    history = read_history("audio", path)
    assert history is not None
    assert list(history.curves) == ["audio_loss"]
    curve = history.curves["audio_loss"]
    assert len(curve.steps) == len(curve.values) == NUM_POINTS
    assert set(curve.values) == {2.0}
    assert curve.steps[-1] > 990
    assert read_history("joint1", tmp_path / "none.jsonl") is None


def test_detectors_are_held_to_the_truth_of_clips_that_have_one() -> None:
    def measured(clip_id: str, video: list[float], audio: list[float]) -> ClipMeasures:
        return ClipMeasures(clip_id, "lamp", ClipEvents("lamp", np.array(video), np.array(audio)), 0.0, -20.0)

    def truth(*instants: float) -> Truth:
        events = [Event("lamp", instant, instant + 0.1) for instant in instants]
        return Truth("lamp", events, [], 0.1, "", "", "", "")

    clips = [measured("a", [0.51], [0.6]), measured("b", [], [0.5, 0.9]), measured("unknown", [0.1], [0.1])]
    video, audio = detector_errors(clips, {"a": truth(0.5), "b": truth(0.4)}, fps=24.0)
    assert (video.modality, video.num_true, video.num_found, video.within_one_frame) == ("video", 2, 1, 0.5)
    assert video.median_seconds == pytest.approx(0.01)
    assert (audio.num_true, audio.num_found, audio.within_one_frame) == (2, 3, 1.0)
    assert audio.median_abs_seconds == pytest.approx(0.0, abs=1e-9)


def test_spread_of_nothing_is_not_a_number() -> None:
    assert spread([1.0, 3.0]).mean == 2.0
    assert spread([1.0, 3.0]).deviation == 1.0
    assert np.isnan(spread([]).mean)
