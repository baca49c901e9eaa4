"""A folder of the released model's own classes, at the smallest size, from files to a clip."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from released_layout import released_layout

from mova_core.cli import main
from mova_core.codecs.base import load_codecs
from mova_core.codecs.dac_audio import DacAudioCodec
from mova_core.codecs.text import Umt5TextEncoder
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.data.media import read_clip
from mova_core.errors import UserError
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.saving import read_record

pytest.importorskip("diffusers", reason="diffusers is not installed (extra release-codecs)")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released_layout(tmp_path_factory.mktemp("release"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
def test_a_prompt_and_a_picture_become_a_clip_with_sound_of_its_length(release: Path) -> None:
    codecs = load_codecs(release)
    assert isinstance(codecs.video, WanVideoCodec)
    assert isinstance(codecs.audio, DacAudioCodec)
    assert isinstance(codecs.text, Umt5TextEncoder)
    pipeline = MovaPipeline.from_pretrained(release)
    assert {parameter.dtype for parameter in pipeline.model.parameters()} == {torch.bfloat16}
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    size = {"height": 32, "width": 48, "num_frames": 13, "num_inference_steps": 2}
    first, again, other = (
        pipeline(prompt, picture, negative_prompt="blurry", seed=5, **size)
        for prompt in ("a lamp &amp; a bell", "a  lamp & a bell", "a ball bounces")
    )
    assert first.frames.shape == (1, 13, 32, 48, 3)
    assert first.audio.shape == (1, round(13 / 24 * 8000))
    assert np.abs(first.audio).max() > 0
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.audio, again.audio)
    assert not np.array_equal(first.audio, other.audio)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_video_vae_computes_in_bfloat16_where_that_is_asked_for(release: Path, tmp_path: Path) -> None:
    clips = {}
    for name, options in {"wide": [], "narrow": ["--vae-dtype", "bfloat16"]}.items():
        size = ["--height", "32", "--width", "48", "--frames", "5", "--steps", "1", "--device", "cpu"]
        out = tmp_path / f"{name}.mp4"
        arguments = ["--prompt", "a lamp", "--checkpoint", str(release), "--out", str(out), *size, *options]
        assert main(["generate", *arguments]) == 0
        clips[name] = read_record(out)["model"]["dtype"], read_clip(out)[0].astype(int)
    assert clips["narrow"][0] == f"{clips['wide'][0]}, video VAE bfloat16"
    assert 0 < np.abs(clips["narrow"][1] - clips["wide"][1]).mean() < 4


@pytest.mark.parametrize(
    "file",
    [
        "video_dit_2/diffusion_pytorch_model.safetensors",
        "dual_tower_bridge/diffusion_pytorch_model.safetensors",
        "video_vae/diffusion_pytorch_model.safetensors",
        "audio_vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ],
)
def test_a_file_cut_short_anywhere_is_named(release: Path, tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    (folder / file).write_bytes((folder / file).read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"{file} is not readable as safetensors"):
        MovaPipeline.from_pretrained(folder)
