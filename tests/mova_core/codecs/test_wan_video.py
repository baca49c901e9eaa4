"""The adapter of the released video VAE, on the smallest VAE of its class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mova_core.codecs.base import load_video_codec
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.errors import UserError

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (extra release-codecs)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    means, deviations = [0.1 * index for index in range(16)], [1.0 + 0.1 * index for index in range(16)]
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, num_res_blocks=1, attn_scales=[], latents_mean=means, latents_std=deviations
    )
    path = tmp_path_factory.mktemp("wan")
    WanVideoCodec(vae).save(path)
    return path


def test_latents_are_the_normalised_mode(folder: Path) -> None:
    codec = load_video_codec(folder)
    assert isinstance(codec, WanVideoCodec)
    assert (codec.latent_channels, codec.temporal_stride, codec.spatial_stride) == (16, 4, 8)
    video = torch.rand(1, 3, 9, 32, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        mode = codec.vae.encode(video).latent_dist.mode()
    latents = codec.encode(video)
    assert latents.shape == (1, 16, 3, 4, 2)
    for channel in (0, 15):
        expected = (mode[:, channel] - 0.1 * channel) / (1.0 + 0.1 * channel)
        torch.testing.assert_close(latents[:, channel], expected)
    with torch.no_grad():
        expected_video = codec.vae.decode(mode).sample
    torch.testing.assert_close(codec.decode(latents), expected_video.clamp(-1, 1), rtol=0, atol=1e-4)


def test_the_given_first_frame_is_encoded_as_a_clip_that_turns_grey(folder: Path) -> None:
    codec = load_video_codec(folder)
    first = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    grey = torch.cat([first, torch.zeros(1, 3, 8, 16, 16)], dim=2)
    torch.testing.assert_close(codec.encode_first_frame(first, 9), codec.encode(grey))


def test_without_diffusers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"diffusers is not installed.*mova-lineage\[release-codecs\]"):
        load_video_codec(folder)


def test_missing_weights_are_the_users_to_mend(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="does not load"):
        load_video_codec(tmp_path)
