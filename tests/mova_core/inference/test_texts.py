"""Texts are encoded once, ahead of sampling where many prompts are sampled, and with the bits of a batch of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_lane import FakeLane
from tiny_workspace import tiny_config

from mova_core.cli import main
from mova_core.data.media import read_clip
from mova_core.inference.defaults import defaults_of
from mova_core.inference.inputs import Settings
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.placement.turns import Turns
from mova_core.inference.texts import MOST_KEPT, PromptTexts, wording_of

SMALL = Settings(2, 2.0, 1.5, True, 32, 32, 5, 25.0)
BATCHES = [(("a lamp flashes", "the wheel hums"), ""), (("a ball",), "a bell"), (("a face speaks",), None)]


@pytest.fixture
def asked(pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the pipeline's text encoder encodes from here on."""
    seen: list[list[str]] = []
    assert pipeline.placement.own_codecs is not None
    encoder = pipeline.placement.own_codecs.text
    encode = encoder.encode

    def recorded(prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(prompts)
        return encode(prompts)

    monkeypatch.setattr(encoder, "encode", recorded)
    return seen


def test_texts_encoded_ahead_are_those_of_each_batch_alone(pipeline: MovaPipeline, asked: list[list[str]]) -> None:
    alone = [PromptTexts(pipeline.codecs.text)(*wording) for wording in BATCHES]
    asked.clear()
    ahead = PromptTexts(pipeline.codecs.text)
    ahead.encode_ahead(BATCHES)
    assert asked == [["a lamp flashes", "the wheel hums", ""], ["a ball", "a bell"], ["a face speaks"]]
    for wording, (texts, empty) in zip(BATCHES, alone, strict=True):
        found, found_empty = ahead(*wording)
        assert torch.equal(found, texts)
        assert (found_empty is None) == (empty is None)
        assert found_empty is None or empty is None or torch.equal(found_empty, empty)
    assert len(asked) == 3, "nothing was encoded again"


def test_the_same_words_are_encoded_once_and_others_anew(pipeline: MovaPipeline, asked: list[list[str]]) -> None:
    pipeline.defaults = SMALL
    first, again = (pipeline("a lamp", seed=seed).frames for seed in (1, 2))
    assert asked == [["a lamp", ""]]
    assert (first != again).any()
    pipeline("a ball", seed=1)
    pipeline("a lamp", negative_prompt="a bell", seed=1)
    pipeline("a lamp", guidance_scale=1.0, bridge_guidance_scale=1.0, seed=1)
    assert asked[1:] == [["a ball", ""], ["a lamp", "a bell"], ["a lamp"]]
    np.testing.assert_array_equal(pipeline("a lamp", seed=1).frames, first)


def test_an_extended_clip_needs_the_text_encoder_once(pipeline: MovaPipeline, asked: list[list[str]]) -> None:
    pipeline.defaults = SMALL
    clip = pipeline("a lamp", seed=1)
    asked.clear()
    pipeline.extend(clip.frames, clip.audio, "a ball", num_frames=11, overlap_frames=1, seed=1)
    assert asked == [["a ball", ""]]


def test_many_prompts_are_not_kept(pipeline: MovaPipeline, asked: list[list[str]]) -> None:
    texts = PromptTexts(pipeline.codecs.text)
    for _ in range(2):
        texts(["a lamp"] * (MOST_KEPT + 1), None)
    assert len(asked) == 2


def test_a_negative_prompt_that_no_guidance_evaluates_is_not_encoded() -> None:
    assert wording_of(["a lamp"], "a bell", SMALL) == (("a lamp",), "a bell")
    assert wording_of(["a lamp"], "a bell", Settings(2, 1.0, 1.0, True, 32, 32, 5, 25.0)) == (("a lamp",), None)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that any placement enters, with weights on a fake device."""
    seen: list[str] = []
    enter = Turns.enter

    def recorded(turns: Turns, stage: str) -> None:
        if stage != turns.stage:
            seen.append(stage)
        enter(turns, stage)

    monkeypatch.setattr(Turns, "enter", recorded)
    monkeypatch.setattr("mova_core.inference.placement.placement.lane_to", lambda device: FakeLane())
    return seen


def test_a_file_of_prompts_brings_the_text_encoder_once_and_makes_the_same_clips(
    checkpoint: Path, tmp_path: Path, stages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    defaults_of(tiny_config(), "joint3").save(release)
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "a lamp"}, {"prompt": "a ball"}, {"prompt": "a bell", "negative_prompt": "hum"}]
    prompts.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def sample(out: str) -> list[np.ndarray]:
        arguments = ["--prompts", str(prompts), "--checkpoint", str(release), "--memory", "swap", "--seed", "5"]
        assert main(["sample", *arguments, "--out", str(tmp_path / out)]) == 0
        return [read_clip(path)[0] for path in sorted((tmp_path / out).glob("*.mp4"))]

    ahead = sample("ahead")
    assert stages.count("text encoder") == 1
    stages.clear()
    monkeypatch.setattr("mova_core.inference.texts.MOST_KEPT", 1)
    one_by_one = sample("one_by_one")
    assert stages.count("text encoder") == len(lines)
    assert len(ahead) == len(lines)
    for one, other in zip(ahead, one_by_one, strict=True):
        np.testing.assert_array_equal(one, other)
