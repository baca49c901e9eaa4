"""Which class a folder holds, and what is said when it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_release import tiny_codecs

from mova_core.codecs.base import (
    audio_latent_shape,
    load_audio_codec,
    load_codecs,
    load_video_codec,
    video_latent_shape,
)
from mova_core.errors import UserError


def test_three_codecs_load_from_one_folder_as_they_were_saved(tmp_path: Path) -> None:
    saved = tiny_codecs(tmp_path / "made")
    saved.save(tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "audio_vae",
        "text_encoder",
        "tokenizer",
        "video_vae",
    ]
    loaded = load_codecs(tmp_path / "copy")
    video, sound = torch.rand(1, 3, 5, 16, 16), torch.rand(1, 1, 960)
    assert torch.equal(loaded.video.encode(video), saved.video.encode(video))
    assert torch.equal(loaded.audio.encode(sound), saved.audio.encode(sound))
    assert torch.equal(loaded.text.encode(["a lamp"])[0], saved.text.encode(["a lamp"])[0])


def test_an_audio_vae_that_has_no_implementation_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "EncodecModel", "sample_rate": 48000}))
    with pytest.raises(UserError, match="names EncodecModel; expected one of NanoAudioCodec, DAC"):
        load_audio_codec(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "no config.json"), ("{", "is not JSON"), ("[]", "holds list"), ("{}", "names nothing")],
)
def test_a_folder_that_is_no_component_is_refused(tmp_path: Path, content: str | None, found: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=found):
        load_video_codec(tmp_path)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    tiny_codecs(tmp_path)
    (tmp_path / "audio_vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights at .*audio_vae"):
        load_codecs(tmp_path)


def test_shapes_come_from_the_codecs(tmp_path: Path) -> None:
    codecs = tiny_codecs(tmp_path)
    video = codecs.video.encode(torch.zeros(1, 3, 33, 64, 48))
    assert video_latent_shape(codecs.video, 33, 64, 48) == tuple(video.shape[1:]) == (16, 9, 8, 6)
    sound = codecs.audio.encode(torch.zeros(1, 1, 1000))
    assert audio_latent_shape(codecs.audio, 1000) == tuple(sound.shape[1:]) == (8, 7)


@pytest.mark.parametrize("form", [(32, 64, 64), (33, 60, 64), (33, 64, 60)])
def test_clips_that_the_strides_do_not_divide_have_no_latent_shape(tmp_path: Path, form: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected 1 \\+ k \\* 4 frames"):
        video_latent_shape(tiny_codecs(tmp_path).video, *form)
