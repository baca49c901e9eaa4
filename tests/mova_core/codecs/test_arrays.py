"""Media arrays to tensors and back, and real clips through the codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_release import tiny_text_encoder

from mova_core.codecs.arrays import audio_tensor, encode_clip_arrays, round_trip, video_array, video_tensor
from mova_core.codecs.base import Codecs
from mova_core.codecs.nano_audio import NanoAudioCodec
from mova_core.codecs.nano_video import NanoVideoCodec


def test_every_pixel_level_survives_the_tensor() -> None:
    frames = np.arange(256, dtype=np.uint8).reshape(1, 2, 8, 16, 1).repeat(3, axis=-1)
    video = video_tensor(frames)
    assert video.shape == (1, 3, 2, 8, 16)
    assert (video.min().item(), video.max().item()) == (-1.0, 1.0)
    assert np.array_equal(video_array(video), frames)


def test_colours_keep_their_channel() -> None:
    frames = np.zeros((1, 1, 8, 8, 3), np.uint8)
    frames[..., 0] = 255
    assert video_tensor(frames)[0, :, 0, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_values_beyond_the_range_are_held_at_its_ends() -> None:
    assert video_array(torch.full((1, 3, 1, 1, 1), 1.7)).max() == 255
    assert video_array(torch.full((1, 3, 1, 1, 1), -1.7)).max() == 0


def test_real_clips_go_through_the_codecs_at_a_resolution(
    video_codec: NanoVideoCodec, audio_codec: NanoAudioCodec, held_out_clips: list[Any], tmp_path: Path
) -> None:
    codecs = Codecs(video_codec, audio_codec, tiny_text_encoder(tmp_path))
    frames = np.stack([clip.frames for clip in held_out_clips[:3]])
    waveforms = np.stack([clip.waveform for clip in held_out_clips[:3]])
    latents = encode_clip_arrays(codecs, frames, waveforms, (32, 32))
    assert latents.video.shape == (3, 16, 9, 4, 4)
    assert torch.equal(latents.audio, audio_codec.encode(audio_tensor(waveforms)))
    small, sound = round_trip(codecs, frames, waveforms, (32, 32))
    assert (small.shape, small.dtype) == ((3, 33, 32, 32, 3), np.uint8)
    assert (sound.shape, sound.dtype) == ((3, 66000), np.float32)
    wanted = frames.reshape(3, 33, 32, 2, 32, 2, 3).mean((3, 5))
    assert np.abs(small - wanted).mean() < 4
