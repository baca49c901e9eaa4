"""The closed-form video codec: shapes, quality, causality, and that it survives the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mova_core.codecs.arrays import video_tensor
from mova_core.codecs.base import load_video_codec
from mova_core.codecs.nano_video import NanoVideoCodec, NanoVideoFitter
from mova_core.codecs.reading import area_resized
from mova_core.errors import UserError

# Held-out clips measured 40 and 35 dB when this was written.
PSNR_FLOOR_DB = {64: 38.0, 32: 33.0}


def videos(clips: list[Any], side: int) -> torch.Tensor:
    return video_tensor(np.stack([area_resized(clip.frames, (side, side)) for clip in clips]))


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(-10 * torch.log10((found - expected).square().mean() / 4))


@pytest.mark.parametrize("side", [64, 32])
def test_held_out_clips_come_back_at_both_resolutions(
    video_codec: NanoVideoCodec, held_out_clips: list[Any], side: int
) -> None:
    video = videos(held_out_clips, side)
    latents = video_codec.encode(video)
    assert latents.shape == (len(held_out_clips), 16, 9, side // 8, side // 8)
    decoded = video_codec.decode(latents)
    assert decoded.shape == video.shape
    assert psnr_db(decoded, video) > PSNR_FLOOR_DB[side]


def test_latents_are_about_unit_variance(video_codec: NanoVideoCodec, held_out_clips: list[Any]) -> None:
    for side in (64, 32):
        assert 0.6 < video_codec.encode(videos(held_out_clips, side)).std().item() < 1.5


def test_a_latent_frame_sees_its_own_frames_only(video_codec: NanoVideoCodec, held_out_clips: list[Any]) -> None:
    video = videos(held_out_clips[:1], 64)
    before = video_codec.encode(video)
    changed = video.clone()
    changed[:, :, 5:9] *= -1  # the second group of four after the first frame
    differs = (video_codec.encode(changed) - before).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert differs.tolist() == [index == 2 for index in range(9)]


def test_a_patch_sees_its_own_pixels_only(video_codec: NanoVideoCodec, held_out_clips: list[Any]) -> None:
    video = videos(held_out_clips[:1], 64)
    changed = video.clone()
    changed[..., 8:16, 24:32] *= -1
    differs = (video_codec.encode(changed) - video_codec.encode(video)).abs().amax(dim=(0, 1, 2)) > 1e-6
    assert differs.nonzero().tolist() == [[1, 3]]


def test_the_first_frame_alone_has_the_latent_it_has_in_its_clip(
    video_codec: NanoVideoCodec, held_out_clips: list[Any]
) -> None:
    video = videos(held_out_clips, 32)
    torch.testing.assert_close(video_codec.encode(video[:, :, :1]), video_codec.encode(video)[:, :, :1])


def test_the_given_first_frame_is_encoded_as_a_clip_that_turns_grey(
    video_codec: NanoVideoCodec, held_out_clips: list[Any]
) -> None:
    video = videos(held_out_clips, 32)
    grey = video.clone()
    grey[:, :, 1:] = 0
    torch.testing.assert_close(
        video_codec.encode_first_frame(video[:, :, :1], 33), video_codec.encode(grey), rtol=0, atol=1e-5
    )


def test_it_survives_the_disk_and_equal_fits_are_equal_bytes(
    video_codec: NanoVideoCodec, train_clips: list[Any], held_out_clips: list[Any], tmp_path: Path
) -> None:
    again = NanoVideoFitter(16)
    for clip in train_clips:
        for side in (32, 64):
            again.add(videos([clip], side)[0])
    video_codec.save(tmp_path / "a")
    again.finish().save(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    loaded = load_video_codec(tmp_path / "a")
    assert isinstance(loaded, NanoVideoCodec)
    video = videos(held_out_clips[:2], 64)
    assert torch.equal(loaded.encode(video), video_codec.encode(video))


def test_it_computes_in_float32_alone(video_codec: NanoVideoCodec, tmp_path: Path) -> None:
    video_codec.save(tmp_path)
    with pytest.raises(UserError, match=r"asked to compute in bfloat16; expected float32.*--vae-dtype"):
        load_video_codec(tmp_path, torch.bfloat16)


def test_a_damaged_file_is_named(video_codec: NanoVideoCodec, tmp_path: Path) -> None:
    video_codec.save(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors is not readable"):
        load_video_codec(tmp_path)


def test_blank_clips_cannot_be_fitted() -> None:
    fitter = NanoVideoFitter(4)
    fitter.add(torch.zeros(3, 5, 16, 16))
    with pytest.raises(UserError, match="picture"):
        fitter.finish()
