"""Captions say what is known or measured, prompts keep the order, and contradictions stay out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova_core.curation.caption import caption_clip, checked, merged
from mova_core.curation.captioners import CaptionParts, LabelsCaptioner, MeasuredCaptioner, main_colours
from mova_core.data.media import write_clip
from mova_core.data.records import Clip

NOWHERE = Path("/nowhere.mp4")


def clip(**changes: Any) -> Clip:
    values: dict[str, Any] = {
        "clip_id": "c1",
        "source_id": "s1",
        "collection": "demo",
        "split": "train",
        "path": "clips/c1.mp4",
        "start_seconds": 0.0,
        "duration_seconds": 1.375,
        "num_frames": 33,
        "fps": 24.0,
        "width": 64,
        "height": 64,
        "sample_rate_hz": 48_000,
        "kind": "single_sound",
        "num_cuts": 0,
        "speech_ratio": 0.0,
        "silence_ratio": 0.1,
        "bandwidth_hz": 8000.0,
        "loudness_lufs": -20.0,
        "clipping_ratio": 0.0,
        "blur": 0.3,
        "motion": 2.0,
        "av_onset_agreement": 0.6,
    }
    return Clip(**{**values, **changes})


def truth(**parts: str | None) -> str:
    return json.dumps({"visual": "", "speech": "", "sound": "", "music": "", "label": "lamp", "events": [], **parts})


def test_labels_give_the_caption_and_empty_parts_stay_empty() -> None:
    labelled = clip(truth_json=truth(visual="a red lamp flashes", sound="a bell", music=None))
    caption, conflicts = caption_clip(labelled, NOWHERE, [LabelsCaptioner(), MeasuredCaptioner()])
    assert (caption.visual, caption.speech, caption.sound, caption.music) == ("a red lamp flashes", "", "a bell", "")
    assert caption.merged == "A red lamp flashes. A bell."
    assert caption.captioner == "labels"
    assert conflicts == []


def test_prompts_have_visuals_first_then_speech_then_other_sound() -> None:
    parts = CaptionParts("a face talks", 'a low voice says "ah."', "rain falls", "a piano plays!")
    assert merged(parts) == 'A face talks. A low voice says "ah." Rain falls. A piano plays!'
    assert merged(CaptionParts("", "", "", "")) == ""


def test_sound_of_a_silent_clip_stays_out_of_the_prompt_but_in_the_record() -> None:
    silent = clip(silence_ratio=1.0, truth_json=truth(visual="a lamp", sound="a bell"))
    caption, conflicts = caption_clip(silent, NOWHERE, [LabelsCaptioner()])
    assert caption.sound == "a bell"
    assert caption.merged == "A lamp."
    assert conflicts == ["sound in a silent clip"]


def test_what_is_said_twice_is_kept_once() -> None:
    parts, conflicts = checked(CaptionParts("a band plays", "", "A band plays.", "a drum"), clip())
    assert parts == CaptionParts("a band plays", "", "", "a drum")
    assert conflicts == ["sound that repeats another part"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"visual": 1, "speech": "", "sound": "", "music": ""}', "not json"])
def test_answers_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting"):
        CaptionParts.from_json(text)


def test_an_unlabelled_clip_is_described_by_what_was_measured(tmp_path: Path) -> None:
    frames = np.zeros((33, 64, 64, 3), np.uint8)
    frames[:, :40] = (40, 80, 200)
    frames[:, 40:] = (245, 245, 245)
    path = tmp_path / "clip.mp4"
    write_clip(path, frames, np.zeros(66_000, np.float32), 24.0, 48_000)
    speaking = clip(speech_ratio=0.7, loudness_lufs=-14.0, motion=0.1)
    caption, _ = caption_clip(speaking, path, [LabelsCaptioner(), MeasuredCaptioner()])
    assert caption.captioner == "measured"
    assert caption.visual == "a blue and white picture, almost still, in one shot"
    assert caption.speech == "a loud voice speaks"
    assert caption.sound == ""
    quiet = MeasuredCaptioner().describe(clip(loudness_lufs=-45.0, bandwidth_hz=900.0, num_cuts=1), path)
    assert quiet is not None
    assert quiet.sound == "quiet, dull sound"
    assert quiet.visual.endswith("in 2 shots")
    silent = MeasuredCaptioner().describe(clip(silence_ratio=1.0), path)
    assert silent is not None
    assert (silent.speech, silent.sound) == ("", "")


def test_one_colour_is_always_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert 1 <= len(main_colours(noise)) <= 4
    assert main_colours(np.full((1, 8, 8, 3), 250, np.uint8)) == ["white"]
