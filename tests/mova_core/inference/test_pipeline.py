"""What a user of `MovaPipeline` relies on, on a random model: seeds, guidance, Bridge, first frame, lengths, errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_release import SAMPLE_RATE_HZ, tiny_codecs

from mova_core.codecs.arrays import video_tensor
from mova_core.errors import UserError
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.inputs import Settings
from mova_core.inference.noise import initial_noise
from mova_core.inference.pipeline import MovaPipeline

PROMPTS = ["a lamp flashes with a bell", "the wheel hums", "a ball bounces"]
SEEDS = [11, 12, 13]
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
# The same sums in another order: the last bits of float32 latents, so at most one of 256 levels.
SAME_LATENTS = {"rtol": 1e-4, "atol": 1e-4}


def generate(pipeline: MovaPipeline, which: slice = slice(None), **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    options: dict[str, Any] = {
        "num_steps": 3,
        "text_guidance": 2.0,
        "bridge_guidance": 1.5,
        "height": 32,
        "width": 32,
        "num_frames": 9,
        "batch_size": 3,
        "first_frames": PICTURES[which],
        **changes,
    }
    return pipeline.generate(PROMPTS[which], seeds=SEEDS[which], **options)


def calls_of(pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every call of the model from here on: how many samples, which expert, with the Bridge or without, timesteps."""
    calls: list[dict[str, Any]] = []
    forward = pipeline.model.forward

    def recorded(video: torch.Tensor, *others: Any, **options: Any) -> Any:
        bridge = options["bridge"]
        on = bridge.tolist() if isinstance(bridge, torch.Tensor) else [bridge] * len(video)
        calls.append({"expert": options["expert"], "bridge": on, "timesteps": (float(others[2]), float(others[3]))})
        return forward(video, *others, **options)

    monkeypatch.setattr(pipeline.model, "forward", recorded)
    return calls


def test_the_same_call_gives_the_same_bits(pipeline: MovaPipeline) -> None:
    first, second = generate(pipeline), generate(pipeline)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_a_clip_does_not_depend_on_the_clips_beside_it(pipeline: MovaPipeline) -> None:
    frames, waveforms = generate(pipeline)
    for batch_size in (1, 2):
        other_frames, other_waveforms = generate(pipeline, batch_size=batch_size)
        assert np.abs(frames.astype(int) - other_frames).max() <= 1
        np.testing.assert_allclose(other_waveforms, waveforms, **SAME_LATENTS)
    alone = generate(pipeline, slice(1, 2))
    assert np.abs(frames[1].astype(int) - alone[0][0]).max() <= 1
    np.testing.assert_allclose(alone[1][0], waveforms[1], **SAME_LATENTS)


def test_noise_is_a_function_of_the_seed_alone() -> None:
    together = initial_noise(SEEDS, (2, 3), (4,))
    alone = initial_noise(SEEDS[2:], (2, 3), (4,))
    assert torch.equal(together[0][2], alone[0][0])
    assert torch.equal(together[1][2], alone[1][0])
    assert not torch.equal(together[1][0], together[1][1])


def test_another_seed_is_another_clip(pipeline: MovaPipeline) -> None:
    options = {"num_steps": 2, "text_guidance": 1.0, "bridge_guidance": 1.0, "height": 32, "width": 32, "num_frames": 9}
    first = pipeline.generate(PROMPTS[:1], PICTURES[:1], [1], **options)
    second = pipeline.generate(PROMPTS[:1], PICTURES[:1], [2], **options)
    assert np.abs(first[0][0, 4:].astype(int) - second[0][0, 4:]).mean() > 5
    assert np.abs(first[1] - second[1]).mean() > 0.01


@pytest.mark.parametrize(
    ("scales", "evaluations"), [((1.0, 1.0), 1), ((3.0, 1.0), 2), ((3.0, 3.0), 2), ((0.0, 1.0), 1), ((3.0, 2.0), 3)]
)
def test_a_step_costs_as_many_evaluations_as_its_guidance_needs(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch, scales: tuple[float, float], evaluations: int
) -> None:
    calls = calls_of(pipeline, monkeypatch)
    generate(pipeline, text_guidance=scales[0], bridge_guidance=scales[1])
    levels = sorted({call["timesteps"] for call in calls}, reverse=True)
    assert len(levels) == 3
    for level in levels:
        assert sum(len(call["bridge"]) for call in calls if call["timesteps"] == level) == 3 * evaluations


def test_dual_guidance_follows_its_formula(pipeline: MovaPipeline) -> None:
    """One step of the general case against the three velocities taken one by one."""
    text_scale, bridge_scale = 3.0, 2.0
    settings = Settings(1, text_scale, bridge_scale, True, 32, 32, 9, 24.0)
    texts, _ = pipeline.codecs.text.encode([PROMPTS[0], ""])
    clips = ClipInputs(PROMPTS[:1], SEEDS[:1], first_frames=PICTURES[:1])
    encoded = pipeline.encode(texts[:1], texts[1:], clips, settings)
    video, audio = pipeline.sample(encoded, settings)

    level = torch.tensor([1000.0])

    def velocity(text: torch.Tensor, bridge: bool) -> tuple[torch.Tensor, torch.Tensor]:
        noise = encoded.noise
        options = {"expert": "high_noise", "bridge": bridge, "video_fps": 24.0}
        return pipeline.model(noise[0], encoded.condition, noise[1], level, level, text, **options)

    neither, bridged, both = (
        velocity(text, bridge) for text, bridge in ((texts[1:], False), (texts[1:], True), (texts[:1], True))
    )
    for modality, found in ((0, video[:, :, 1:]), (1, audio)):
        v00, v0b, vtb = (v[modality][:, :, 1:] if modality == 0 else v[modality] for v in (neither, bridged, both))
        noise = encoded.noise[modality][:, :, 1:] if modality == 0 else encoded.noise[modality]
        expected = noise - (v00 + bridge_scale * (v0b - v00) + text_scale * (vtb - v0b))
        torch.testing.assert_close(found, expected, **SAME_LATENTS)


def test_with_the_bridge_off_the_bridge_s_weights_and_scale_do_not_matter(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(pipeline, monkeypatch)
    off = generate(pipeline, bridge=False, bridge_guidance=3.0)
    assert not any(on for call in calls for on in call["bridge"])
    on = generate(pipeline)
    with torch.no_grad():
        for weight in pipeline.model.dual_tower_bridge.parameters():
            weight.mul_(-1.7)
    still_off = generate(pipeline, bridge=False)
    np.testing.assert_array_equal(off[0], still_off[0])
    np.testing.assert_array_equal(off[1], still_off[1])
    assert np.abs(on[1] - generate(pipeline)[1]).max() > 1e-3


def test_the_sound_hears_the_picture_only_through_the_bridge(pipeline: MovaPipeline) -> None:
    inverted = 255 - PICTURES
    np.testing.assert_array_equal(
        generate(pipeline, bridge=False)[1], generate(pipeline, bridge=False, first_frames=inverted)[1]
    )
    assert np.abs(generate(pipeline)[1] - generate(pipeline, first_frames=inverted)[1]).max() > 1e-3


def test_the_given_picture_comes_back_as_the_first_frame(pipeline: MovaPipeline) -> None:
    frames, _ = generate(pipeline)
    through_codec = pipeline.decode_video(pipeline.codecs.video.encode(video_tensor(PICTURES[:, None])))
    assert np.abs(frames[:, 0].astype(int) - through_codec[:, 0]).max() <= 1


def test_text_alone_starts_from_white(pipeline: MovaPipeline) -> None:
    white = generate(pipeline, first_frames=np.full_like(PICTURES, 255))
    np.testing.assert_array_equal(generate(pipeline, first_frames=None)[0], white[0])


def test_the_expert_follows_the_video_s_noise_level(pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(pipeline, monkeypatch)
    generate(pipeline, num_steps=8)
    for call in calls:
        assert call["expert"] == ("high_noise" if call["timesteps"][0] >= 900 else "low_noise")
        # Shift 2 for video and 3 for audio: the audio runs at the higher level.
        assert call["timesteps"][1] >= call["timesteps"][0]
    assert {call["expert"] for call in calls} == {"high_noise", "low_noise"}
    assert [call["timesteps"][0] for call in calls] == sorted((c["timesteps"][0] for c in calls), reverse=True)


def test_sound_lasts_exactly_as_long_as_the_picture(pipeline: MovaPipeline) -> None:
    frames, waveforms = generate(pipeline, num_frames=13, fps=25.0, height=16, width=48, first_frames=None)
    assert frames.shape == (3, 13, 16, 48, 3)
    assert waveforms.shape == (3, round(13 / 25 * SAMPLE_RATE_HZ))
    assert waveforms.dtype == np.float32
    assert np.abs(waveforms).max() <= 1


def test_progress_counts_clips(pipeline: MovaPipeline) -> None:
    done: list[int] = []
    generate(pipeline, batch_size=2, progress=done.append)
    assert done == [2, 3]


def test_numbers_that_overflow_are_an_error_and_not_a_clip(pipeline: MovaPipeline) -> None:
    with torch.no_grad():
        pipeline.model.audio_dit.head.head.weight.fill_(3e38)
    with pytest.raises(UserError, match=r"not finite.*lower the guidance"):
        generate(pipeline)


def test_bad_input_fails_before_anything_is_encoded(pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.codecs.text, "encode", lambda prompts: pytest.fail("text was encoded"))
    for changes in ({"height": 33}, {"num_frames": 8}, {"text_guidance": -1.0}, {"batch_size": 0}):
        with pytest.raises(UserError):
            generate(pipeline, **changes)


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint.*mova train"):
        MovaPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("part", ["video_vae", "tokenizer", "scheduler", "dual_tower_bridge"])
def test_a_missing_part_is_named(checkpoint: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=part):
        MovaPipeline.from_pretrained(folder)


def test_weights_that_are_not_numbers_are_refused(checkpoint: Path, pipeline: MovaPipeline, tmp_path: Path) -> None:
    from mova_core.models.weights import save_model

    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    with torch.no_grad():
        pipeline.model.video_dit.head.head.bias[0] = float("nan")
    save_model(pipeline.model, folder)
    with pytest.raises(UserError, match=r"video_dit hold values that are not finite \(head\.head\.bias\)"):
        MovaPipeline.from_pretrained(folder)


def test_codecs_of_another_model_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "codecs"
    tiny_codecs(folder, video_channels=12)
    with pytest.raises(UserError, match=r"video latent channels 16, its codecs 12"):
        MovaPipeline.from_pretrained(checkpoint, folder)
