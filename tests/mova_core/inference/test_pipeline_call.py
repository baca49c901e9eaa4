"""Calling a pipeline as diffusers' pipelines are called: arguments, defaults, seeds, callback, output types."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_release import SAMPLE_RATE_HZ

from mova_core.errors import UserError
from mova_core.inference.inputs import Settings
from mova_core.inference.output import MovaOutput
from mova_core.inference.pipeline import MovaPipeline

SMALL = Settings(2, 2.0, 1.0, True, 32, 32, 9, 24.0)
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture
def pipeline(checkpoint: Path) -> MovaPipeline:
    made = MovaPipeline.from_pretrained(str(checkpoint))
    made.defaults = SMALL
    return made


def same(first: MovaOutput, second: MovaOutput) -> bool:
    return np.array_equal(first.frames, second.frames) and np.array_equal(first.audio, second.audio)


def test_a_prompt_and_a_picture_give_a_clip_and_how_it_was_made(pipeline: MovaPipeline, tmp_path: Path) -> None:
    path = tmp_path / "first.png"
    cv2.imwrite(str(path), PICTURE[..., ::-1])
    output = pipeline(prompt="a lamp flashes", image=path, seed=3, solver="multistep")
    assert output.frames.shape == (1, 9, 32, 32, 3)
    assert output.audio.shape == (1, round(9 / 24 * SAMPLE_RATE_HZ))
    assert (output.fps, output.sample_rate_hz, output.seeds) == (24.0, SAMPLE_RATE_HZ, (3,))
    assert output.settings == dataclasses.replace(SMALL, solver="multistep")
    frames, audio = pipeline.generate(
        ["a lamp flashes"], PICTURE[None], [3], 2, 2.0, 1.0, height=32, width=32, num_frames=9, solver="multistep"
    )
    np.testing.assert_array_equal(output.frames, frames)
    np.testing.assert_array_equal(output.audio, audio)


def test_arguments_override_the_defaults(pipeline: MovaPipeline) -> None:
    output = pipeline(
        "a lamp", height=16, width=48, num_frames=5, frame_rate=12.0, num_inference_steps=1, guidance_scale=1.0, seed=0
    )
    assert output.frames.shape == (1, 5, 16, 48, 3)
    assert output.audio.shape == (1, round(5 / 12 * SAMPLE_RATE_HZ))
    assert (output.settings.num_steps, output.settings.text_guidance) == (1, 1.0)


@pytest.mark.parametrize("compat", [False, True])
def test_the_releases_ways_are_followed_on_request_only(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch, compat: bool
) -> None:
    forward, seen = pipeline.model.forward, []

    def watched(*inputs: Any, **options: Any) -> Any:
        seen.append(options["as_released"])
        return forward(*inputs, **options)

    monkeypatch.setattr(pipeline.model, "forward", watched)
    followed = pipeline("a bell", seed=1, num_inference_steps=7, compat=compat, output_type="latent")
    assert set(seen) == {compat}
    exact = pipeline("a bell", seed=1, num_inference_steps=7, output_type="latent")
    # Seven steps do not fall on the release's grid of levels.
    assert torch.equal(followed.frames, exact.frames) != compat


def test_no_negative_prompt_is_an_empty_one(pipeline: MovaPipeline) -> None:
    guided = {"seed": 1, "guidance_scale": 3.0}
    none, empty = (pipeline("a bell", negative_prompt=words, **guided) for words in (None, ""))  # type: ignore[arg-type]  # mixed types
    assert np.array_equal(none.frames, empty.frames)
    assert none.negative_prompt == ""


def test_a_seed_reproduces_and_none_is_drawn_and_told(pipeline: MovaPipeline) -> None:
    drawn = pipeline("a lamp")
    assert same(pipeline("a lamp", seed=drawn.seeds), drawn)
    assert not same(pipeline("a lamp"), drawn)


def test_a_generator_gives_the_clips_of_its_state(pipeline: MovaPipeline) -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = (pipeline("a lamp", generator=generator) for _ in range(2))
    assert not same(first, second)
    assert same(pipeline("a lamp", generator=torch.Generator().manual_seed(5)), first)
    with pytest.raises(UserError, match="both a seed and a generator"):
        pipeline("a lamp", seed=1, generator=generator)


def test_several_videos_of_a_prompt_differ_by_their_seeds(pipeline: MovaPipeline) -> None:
    output = pipeline(["a lamp", "a ball"], [PICTURE, 255 - PICTURE], num_videos_per_prompt=2, seed=10)
    assert output.prompts == ("a lamp", "a lamp", "a ball", "a ball")
    assert output.seeds == (10, 11, 12, 13)
    alone = pipeline("a ball", 255 - PICTURE, seed=12)
    assert np.abs(output.frames[2].astype(int) - alone.frames[0]).max() <= 1


def test_output_types_are_the_same_clip(pipeline: MovaPipeline) -> None:
    arrays, tensors, latents = (pipeline("a lamp", seed=1, output_type=kind) for kind in ("np", "pt", "latent"))
    assert tensors.frames.shape == (1, 9, 3, 32, 32)
    np.testing.assert_array_equal((tensors.frames * 255).round().byte().movedim(2, -1).numpy(), arrays.frames)
    np.testing.assert_array_equal(pipeline.decode_video(latents.frames), arrays.frames)
    np.testing.assert_array_equal(pipeline.decode_audio(latents.audio, SMALL), arrays.audio)


def test_the_callback_sees_every_step_and_previews_end_as_the_clip(pipeline: MovaPipeline) -> None:
    seen: list[tuple[int, float]] = []
    values: list[dict[str, Any]] = []

    def callback(given: MovaPipeline, step: int, timestep: float, state: dict[str, Any]) -> None:
        assert given is pipeline
        seen.append((step, timestep))
        values.append(state)

    output = pipeline("a lamp", seed=1, num_inference_steps=3, callback_on_step_end=callback, output_type="latent")
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[0][1] > seen[1][1] > seen[2][1] == 0
    assert values[-1]["seconds_left"] == 0
    assert values[0]["seconds_left"] == pytest.approx(2 * values[0]["seconds"])
    # Euler's last step leads from where the model was asked to what it expects.
    torch.testing.assert_close(values[-1]["denoised_audio_latents"], output.audio, rtol=1e-5, atol=1e-5)
    assert pipeline.decode_video(values[0]["denoised_latents"]).shape == (1, 9, 32, 32, 3)


def test_latents_that_the_callback_returns_are_gone_on_with(pipeline: MovaPipeline) -> None:
    def silenced(_: MovaPipeline, step: int, __: float, state: dict[str, Any]) -> dict[str, Any]:
        return {"audio_latents": torch.zeros_like(state["audio_latents"])}

    def broken(_: MovaPipeline, step: int, __: float, state: dict[str, Any]) -> dict[str, Any]:
        return {"latents": state["latents"] * float("nan")}

    output = pipeline("a lamp", seed=1, callback_on_step_end=silenced, output_type="latent")
    assert not output.audio.any()
    with pytest.raises(UserError, match="not finite after step 1"):
        pipeline("a lamp", seed=1, callback_on_step_end=broken)


def test_the_negative_prompt_is_encoded_and_heard_only_under_guidance(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = pipeline.codecs.text.encode
    monkeypatch.setattr(pipeline.codecs.text, "encode", lambda prompts: encoded.extend(prompts) or encode(prompts))
    plain = pipeline("a lamp", seed=1, guidance_scale=1.0)
    assert encoded == ["a lamp"]
    assert same(pipeline("a lamp", negative_prompt="the wheel hums", seed=1, guidance_scale=1.0), plain)
    encoded.clear()
    guided = pipeline("a lamp", seed=1)
    assert encoded == ["a lamp", ""]
    assert not same(pipeline("a lamp", negative_prompt="the wheel hums", seed=1), guided)


def test_the_sound_s_own_scale_changes_the_sound_of_one_step_alone(pipeline: MovaPipeline) -> None:
    plain, louder = (
        pipeline("a lamp", seed=1, num_inference_steps=1, audio_guidance_scale=scale, bridge_guidance_scale=2.0)
        for scale in (None, 6.0)
    )
    assert np.abs(plain.frames.astype(int) - louder.frames).max() <= 1
    assert np.abs(plain.audio - louder.audio).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 40}, "height is 40; expected a multiple of 16"),
        ({"num_frames": 9.0}, "num_frames is 9.0; expected a whole number"),
        ({"num_inference_steps": 2.5}, "num_steps is 2.5; expected a whole number"),
        ({"output_type": "film"}, "output_type is 'film'; expected one of np, pt, latent"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_frames": 10}, r"num_frames is 10; expected 4k\+1"),
        ({"frame_rate": -1.0}, "fps is -1.0"),
        ({"guidance_scale": float("inf")}, "text_guidance is inf"),
        ({"audio_bridge_guidance_scale": -2.0}, "audio_bridge_guidance is -2.0"),
        ({"audio_shift": 0.0}, "audio_shift is 0.0; expected a positive number"),
        ({"solver": "magic"}, "solver is 'magic'; expected one of euler, multistep"),
        ({"guidance_scale": "3"}, "text_guidance is '3'; expected a number"),
        ({"prompt": ""}, "prompt 0 is empty"),
        ({"prompt": None}, "prompt is None; expected a text"),
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
        ({"image": "nowhere.png"}, "no picture at nowhere.png"),
        ({"image": np.zeros((8, 8), np.uint8)}, r"image: uint8 of shape \(8, 8\)"),
        ({"image": [PICTURE, PICTURE]}, "image: 2 pictures for 1 clips"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt is 0"),
        ({"seed": [1, 2]}, "1 prompts and 2 seeds"),
        ({"video": np.zeros((5, 32, 32, 3), np.uint8)}, r"video: uint8 of shape \(1, 5, 32, 32, 3\); expected .*9, 32"),
        ({"audio": np.zeros(100, np.float32)}, r"audio: float32 of shape \(1, 100\); expected .*\(1, 3000\)"),
        ({"audio": np.full(3000, np.nan, np.float32)}, "audio holds numbers that are not finite"),
        ({"audio": np.full(3000, 2, np.float32)}, r"audio reaches 2; expected values in \[-1, 1\]"),
    ],
)
def test_what_cannot_work_fails_before_anything_is_encoded(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(pipeline.codecs.text, "encode", lambda prompts: pytest.fail("text was encoded"))
    with pytest.raises(UserError, match=message):
        pipeline(**{"prompt": "a lamp", "seed": 1, **arguments})
