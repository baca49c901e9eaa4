"""The adapter of the released video VAE, on the smallest VAE of its class."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mova_core.codecs.arrays import decoded_frames, video_array
from mova_core.codecs.base import load_video_codec
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.data.weights import WEIGHTS_FILE
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
    with pytest.raises(UserError, match="no weights at"):
        load_video_codec(tmp_path)


def test_a_clip_in_parts_is_the_clip_in_one_pass(folder: Path) -> None:
    """Held to diffusers' own pass over the whole clip, bit for bit."""
    codec = load_video_codec(folder)
    assert isinstance(codec, WanVideoCodec)
    latents = torch.randn(2, 16, 6, 4, 2, generator=torch.Generator().manual_seed(3))
    parts = list(codec.decode_parts(latents))
    assert [part.shape[2] for part in parts] == [1, 4, 4, 4, 4, 4]
    assert all(part._base is None for part in parts)  # none keeps a longer clip in memory
    per_channel = (1, -1, 1, 1, 1)
    std, mean = (torch.tensor(codec.vae.config[name]).view(per_channel) for name in ("latents_std", "latents_mean"))
    video = torch.rand(2, 3, 21, 32, 16, generator=torch.Generator().manual_seed(4)) * 2 - 1
    with torch.no_grad():
        whole = codec.vae.decode(latents * std + mean).sample
        mode = codec.vae.encode(video).latent_dist.mode()
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert torch.equal(codec.encode(video), (mode - mean) / std)
    frames = decoded_frames(codec, latents)
    assert np.array_equal(frames, video_array(whole))


def test_in_bfloat16_it_gives_nearly_the_same_from_half_the_memory(folder: Path, tmp_path: Path) -> None:
    """Both from weights that are stored in bfloat16, as the release's are."""
    shutil.copytree(folder, tmp_path / "vae")
    stored = {name: value.bfloat16() for name, value in load_file(folder / WEIGHTS_FILE).items()}
    save_file(stored, tmp_path / "vae" / WEIGHTS_FILE)
    wide, narrow = load_video_codec(tmp_path / "vae"), load_video_codec(tmp_path / "vae", torch.bfloat16)
    assert isinstance(wide, WanVideoCodec)
    assert isinstance(narrow, WanVideoCodec)
    assert {weight.dtype for weight in narrow.vae.parameters()} == {torch.bfloat16}
    assert sum(weight.nbytes for weight in wide.vae.parameters()) == 2 * sum(w.nbytes for w in narrow.vae.parameters())
    video = torch.rand(1, 3, 5, 32, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents, coarse = wide.encode(video), narrow.encode(video)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - latents).norm() < 0.02 * latents.norm()
    frames, coarse_frames = (decoded_frames(codec, latents).astype(int) for codec in (wide, narrow))
    assert 0 < np.abs(coarse_frames - frames).mean() < 1.0


def test_a_first_frame_is_forgotten_and_the_rest_not_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = load_video_codec(folder)
    assert isinstance(codec, WanVideoCodec)
    first = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    num_frames = 4 * 60 + 1
    whole = codec.encode(torch.cat([first, torch.zeros(1, 3, num_frames - 1, 16, 16)], dim=2))
    passes = []
    forward = codec.vae.encoder.forward
    monkeypatch.setattr(codec.vae.encoder, "forward", lambda *x, **y: (passes.append(1), forward(*x, **y))[1])
    assert torch.equal(codec.encode_first_frame(first, num_frames), whole)
    assert len(passes) < 40


@pytest.mark.parametrize(
    ("changes", "found"), [({"patch_size": 2}, "patch_size is 2"), ({"z_dim": "many"}, "does not load")]
)
def test_configurations_of_no_released_vae_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, object], found: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=found):
        load_video_codec(tmp_path)


def test_parameters_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "vae")
    weights = load_file(folder / WEIGHTS_FILE)
    del weights["decoder.conv_in.bias"]
    save_file({**weights, "surplus": torch.zeros(1)}, tmp_path / "vae" / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"1 unknown: surplus; 1 missing: decoder\.conv_in\.bias"):
        load_video_codec(tmp_path / "vae")
