"""What is given comes out as it was, and what is generated follows it.

Sound for a video, pictures for a sound, a last frame, clips without a first frame, longer clips.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_release import SAMPLE_RATE_HZ

from mova_core.codecs.arrays import video_tensor
from mova_core.errors import UserError
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.inputs import Settings
from mova_core.inference.joining import SEAM_SECONDS
from mova_core.inference.pipeline import MovaPipeline
from mova_core.models.build import MASK_CHANNELS

SMALL = Settings(2, 2.0, 1.5, True, 32, 32, 13, 25.0)
RANDOM = np.random.default_rng(0)
VIDEO = RANDOM.integers(0, 256, (13, 32, 32, 3), np.uint8)
NUM_SAMPLES = round(13 / 25 * SAMPLE_RATE_HZ)
SOUND = RANDOM.uniform(-0.5, 0.5, NUM_SAMPLES).astype(np.float32)


@pytest.fixture
def pipeline(checkpoint: Path) -> MovaPipeline:
    made = MovaPipeline.from_pretrained(checkpoint)
    made.defaults = SMALL
    return made


def timesteps_of(pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, int]]:
    """(video timestep, audio timestep, samples) of every call of the model from here on."""
    seen: list[tuple[float, float, int]] = []
    forward = pipeline.model.forward

    def recorded(video: torch.Tensor, *others: Any, **options: Any) -> Any:
        seen.append((float(others[2]), float(others[3]), len(video)))
        return forward(video, *others, **options)

    monkeypatch.setattr(pipeline.model, "forward", recorded)
    return seen


def test_a_video_keeps_its_frames_and_gets_a_sound_of_its_length(pipeline: MovaPipeline) -> None:
    output = pipeline("a lamp", video=VIDEO, seed=1)
    np.testing.assert_array_equal(output.frames[0], VIDEO)
    assert output.audio.shape == (1, NUM_SAMPLES)
    assert output.audio.std() > 0.001


def test_the_sound_follows_the_video_and_through_the_bridge_only(pipeline: MovaPipeline) -> None:
    # The last frames alone differ, so it is not the first frame's condition that is heard.
    other = VIDEO.copy()
    other[5:] = 255 - other[5:]
    heard, heard_other = (pipeline("a lamp", video=video, seed=1).audio for video in (VIDEO, other))
    assert np.abs(heard - heard_other).max() > 1e-3
    deaf, deaf_other = (pipeline("a lamp", video=video, seed=1, bridge=False).audio for video in (VIDEO, other))
    np.testing.assert_array_equal(deaf, deaf_other)


def test_a_sound_is_kept_and_the_pictures_follow_it(pipeline: MovaPipeline) -> None:
    output = pipeline("a lamp", VIDEO[0], audio=SOUND, seed=1)
    np.testing.assert_array_equal(output.audio[0], SOUND)
    other = pipeline("a lamp", VIDEO[0], audio=-SOUND[::-1], seed=1)
    assert np.abs(output.frames.astype(int) - other.frames).max() > 1
    assert np.abs(output.frames[0, 1:].astype(int) - VIDEO[1:]).mean() > 5


def test_the_model_reads_a_held_modality_clean_at_timestep_0(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = timesteps_of(pipeline, monkeypatch)
    latents = pipeline("a lamp", video=VIDEO, seed=1, output_type="latent")
    torch.testing.assert_close(latents.frames, pipeline.codecs.video.encode(video_tensor(VIDEO[None])))
    assert {video for video, _, _ in seen} == {0.0}
    assert len({audio for _, audio, _ in seen}) == 2
    seen.clear()
    pipeline("a lamp", audio=SOUND, seed=1)
    assert {audio for _, audio, _ in seen} == {0.0}


def test_a_held_modality_asks_for_no_evaluations_of_its_own(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = timesteps_of(pipeline, monkeypatch)
    pipeline("a lamp", video=VIDEO, seed=1, audio_guidance_scale=1.0, audio_bridge_guidance_scale=1.0)
    assert sum(samples for *_, samples in seen) == SMALL.num_steps


def test_the_last_frame_is_the_given_picture(pipeline: MovaPipeline) -> None:
    picture = VIDEO[7]
    output = pipeline("a lamp", VIDEO[0], last_image=picture, seed=1)
    still = np.repeat(picture[None], 5, axis=0)
    through_codec = pipeline.decode_video(pipeline.codecs.video.encode(video_tensor(still[None])))
    assert np.abs(output.frames[0, -1].astype(int) - through_codec[0, -1]).max() <= 1
    free = pipeline("a lamp", VIDEO[0], seed=1)
    assert np.abs(free.frames[0, -1].astype(int) - through_codec[0, -1]).mean() > 5


def test_the_last_frame_is_told_where_the_model_was_not_trained_to_have_it_put_back(pipeline: MovaPipeline) -> None:
    pipeline.encoder.num_given_frames = 0
    clips = ClipInputs(["a lamp"], [1], first_frames=VIDEO[:1], last_frames=VIDEO[7:8])
    encoded = pipeline.encode(*pipeline.encode_texts(["a lamp"]), clips, SMALL)
    mask = encoded.condition[0, :MASK_CHANNELS, :, 0, 0]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
    assert encoded.known.video is None


def test_without_a_picture_a_model_may_be_told_of_none(pipeline: MovaPipeline) -> None:
    white, masked = (pipeline("a lamp", seed=1, text_only=mode) for mode in ("white", "masked"))
    shown_white = pipeline.decode_video(pipeline.codecs.video.encode(video_tensor(np.full_like(VIDEO[None, :1], 255))))
    assert np.abs(white.frames[0, 0].astype(int) - shown_white[0, 0]).max() <= 1
    assert np.abs(masked.frames[0, 0].astype(int) - shown_white[0, 0]).mean() > 20
    clips = ClipInputs(["a lamp"], [1])
    settings = dataclasses.replace(SMALL, text_only="masked")
    assert not pipeline.encode(*pipeline.encode_texts(["a lamp"]), clips, settings).condition[:, :MASK_CHANNELS].any()
    # A picture that is given counts in either mode.
    both = [pipeline("a lamp", VIDEO[0], seed=1, text_only=mode).frames for mode in ("white", "masked")]
    np.testing.assert_array_equal(*both)


def test_an_extension_begins_with_the_clip_and_is_as_long_as_wanted(pipeline: MovaPipeline) -> None:
    clip = pipeline(["a lamp", "a ball"], VIDEO[0], seed=1)
    longer = pipeline.extend(clip.frames, clip.audio, ["a lamp", "a ball"], num_frames=30, overlap_frames=5, seed=1)
    assert longer.frames.shape == (2, 30, 32, 32, 3)
    assert longer.audio.shape == (2, round(30 / 25 * SAMPLE_RATE_HZ))
    np.testing.assert_array_equal(longer.frames[:, :13], clip.frames)
    np.testing.assert_array_equal(longer.audio[:, :NUM_SAMPLES], clip.audio)
    again = pipeline.extend(clip.frames, clip.audio, ["a lamp", "a ball"], num_frames=30, overlap_frames=5, seed=1)
    np.testing.assert_array_equal(again.frames, longer.frames)
    # Two windows, with noise of their own.
    assert np.abs(longer.frames[:, 13:21].astype(int) - longer.frames[:, 21:29]).mean() > 5


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97])
def test_an_extension_keeps_sync_at_every_rate(pipeline: MovaPipeline, fps: float) -> None:
    settings = dataclasses.replace(SMALL, fps=fps, num_steps=1)
    sound = RANDOM.uniform(-0.5, 0.5, (1, settings.num_samples(SAMPLE_RATE_HZ))).astype(np.float32)
    longer = pipeline.extend(VIDEO[None], sound, "a lamp", num_frames=50, overlap_frames=9, settings=settings, seed=1)
    assert longer.frames.shape[1] == 50
    assert longer.audio.shape == (1, round(50 / fps * SAMPLE_RATE_HZ))


def test_an_extension_follows_what_it_continues(pipeline: MovaPipeline) -> None:
    """From the same first frame of the overlap, but other frames after it, or other sound: the continuation differs."""
    other = VIDEO.copy()
    other[9:] = 255 - other[9:]
    longer, seen, heard = (
        pipeline.extend(video[None], sound[None], "a lamp", num_frames=20, overlap_frames=5, seed=1)
        for video, sound in ((VIDEO, SOUND), (other, SOUND), (VIDEO, -SOUND))
    )
    assert (longer.frames[:, 13:] != seen.frames[:, 13:]).mean() > 0.01
    seam = NUM_SAMPLES + round(SEAM_SECONDS * SAMPLE_RATE_HZ)
    assert np.abs(longer.audio[:, seam:] - heard.audio[:, seam:]).max() > 1e-3


def test_no_click_where_the_given_sound_ends(pipeline: MovaPipeline) -> None:
    loud = np.full(NUM_SAMPLES, 0.9, np.float32)  # a level the codec of the test does not give back
    longer = pipeline.extend(VIDEO[None], loud[None], "a lamp", num_frames=20, overlap_frames=5, seed=1)
    around = np.diff(longer.audio[0, NUM_SAMPLES - 1 : NUM_SAMPLES + 1])
    elsewhere = np.abs(np.diff(longer.audio[0, NUM_SAMPLES:]))
    assert np.abs(around).max() <= elsewhere.max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 13}, "num_frames is 13; expected more than the 13 frames"),
        ({"overlap_frames": 4}, r"overlap_frames is 4; expected 4k\+1"),
        ({"overlap_frames": 13}, r"overlap_frames is 13; expected 4k\+1, less than the 13"),
        ({"video": VIDEO[None, :3]}, "the clips to extend are uint8 of shape"),
        ({"video": VIDEO[None, :, :16]}, "the clips to extend are uint8 of shape"),
        ({"audio": SOUND[None, :-1]}, f"13 frames come with {NUM_SAMPLES - 1} samples; expected {NUM_SAMPLES}"),
        ({"audio": SOUND[None] * np.float32("nan")}, "start audio holds numbers that are not finite"),
    ],
)
def test_what_cannot_be_extended_is_refused(
    pipeline: MovaPipeline, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(pipeline.codecs.text, "encode", lambda prompts: pytest.fail("text was encoded"))
    given = {"video": VIDEO[None], "audio": SOUND[None], "num_frames": 30, "overlap_frames": 5, **arguments}
    with pytest.raises(UserError, match=message):
        pipeline.extend(prompt="a lamp", **given)


@pytest.mark.parametrize(
    "given",
    [
        {"video": VIDEO[None], "audio": SOUND[None]},
        {"video": VIDEO[None], "first_frames": VIDEO[:1]},
        {"start_frames": VIDEO[None, :5], "start_audio": SOUND[None, :1600], "last_frames": VIDEO[:1]},
        {"start_frames": VIDEO[None, :5]},
    ],
)
def test_givens_that_exclude_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"given at once|only one modality"):
        ClipInputs(["a lamp"], [1], **given).check(SMALL, SAMPLE_RATE_HZ)
