"""What a codec is, and the folder that holds the three of one model.

Strides, rates, channel counts and the scale of latents are stated by the codecs and nowhere else: whoever needs one
asks `Codecs` (or the shapes of the cached latents, which come from them).

Axes: B batch, T pixel frames, H W pixels, F h w latent frames and positions, S samples, L audio latents, C channels,
M tokens, D text dimension. Latents are about unit variance, as the model sees them.

Folder layout, as in a release: ``video_vae/ audio_vae/ text_encoder/ tokenizer/``. Each component's config.json names
its class under ``_class_name`` (diffusers) or ``architectures`` (transformers).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from mova_core.errors import UserError

VIDEO_FOLDER = "video_vae"
AUDIO_FOLDER = "audio_vae"
TEXT_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"

CONFIG_FILE = "config.json"

# Class named in config.json -> where its implementation is. Imported when chosen, since the real ones are heavy.
VIDEO_CODECS = {
    "NanoVideoCodec": "mova_core.codecs.nano_video:NanoVideoCodec",
    "AutoencoderKLWan": "mova_core.codecs.wan_video:WanVideoCodec",
}
AUDIO_CODECS = {
    "NanoAudioCodec": "mova_core.codecs.nano_audio:NanoAudioCodec",
    "DAC": "mova_core.codecs.dac_audio:DacAudioCodec",
}
TEXT_ENCODERS = {
    "BertModel": "mova_core.codecs.text:MiniLmTextEncoder",
    "UMT5EncoderModel": "mova_core.codecs.text:Umt5TextEncoder",
}


class VideoCodec(Protocol):
    """Pictures to latents and back. The first frame stands alone; later ones go in groups of `temporal_stride`."""

    latent_channels: int
    temporal_stride: int
    spatial_stride: int

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, T, H, W] in [-1, 1], T = 1 + k * temporal_stride -> [B, C, 1 + k, H / stride, W / stride]."""
        ...

    def encode_first_frame(self, first: Tensor, num_frames: int) -> Tensor:
        """What a model is told of a given first frame: latents of a clip that shows it once, then mid-grey.

        first : [B, 3, 1, H, W] in [-1, 1]. Returns what `encode` gives for `num_frames` frames, all but the first zero.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, F, h, w] -> [B, 3, 1 + (F - 1) * temporal_stride, h * stride, w * stride] in [-1, 1]."""
        ...

    def decode_parts(self, latents: Tensor) -> Iterator[Tensor]:
        """What `decode` gives, in parts one after the other, for clips too long to be held as floats at once."""
        ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Self:
        """dtype : what the codec computes in; pictures and latents are float32 outside of it."""
        ...

    def to(self, device: torch.device) -> Self: ...


class AudioCodec(Protocol):
    """Mono sound to latents and back. Latent j stands for samples [j * hop, (j + 1) * hop): time j / latent_rate_hz."""

    sample_rate_hz: int
    hop: int
    latent_channels: int

    @property
    def latent_rate_hz(self) -> float: ...

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, 1, S] in [-1, 1] -> [B, C, ceil(S / hop)]; the end is padded with silence."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, L] -> [B, 1, L * hop] in [-1, 1], untrimmed."""
        ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...

    def to(self, device: torch.device) -> Self: ...


class TextEncoder(Protocol):
    """Prompts to token states. The empty prompt is the null text of guidance."""

    dim: int
    max_tokens: int

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """-> states [B, max_tokens, dim] with rows past the length zero, and lengths [B] (int64)."""
        ...

    def count_tokens(self, prompts: list[str]) -> list[int]:
        """Tokens of each prompt before any cut at `max_tokens`."""
        ...

    def save(self, folder: Path) -> None:
        """Writes text_encoder/ and tokenizer/ under `folder`."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...

    def to(self, device: torch.device) -> Self: ...


@dataclass(frozen=True)
class Codecs:
    """The three codecs of one model."""

    video: VideoCodec
    audio: AudioCodec
    text: TextEncoder

    def save(self, folder: Path) -> None:
        """Writes the four component folders under `folder`."""
        self.video.save(folder / VIDEO_FOLDER)
        self.audio.save(folder / AUDIO_FOLDER)
        self.text.save(folder)

    def to(self, device: torch.device) -> Codecs:
        return Codecs(self.video.to(device), self.audio.to(device), self.text.to(device))


def load_codecs(folder: Path, video_dtype: torch.dtype = torch.float32) -> Codecs:
    """Loads the codecs of a release folder, or of data/latents/codecs.

    Parameters
    ----------
    video_dtype : what the video codec computes in. The audio codec always computes in float32: at bfloat16's 8 bits a
        sound would hiss.

    Raises
    ------
    UserError : if a component is absent, of a class that has no implementation here, or does not compute in that dtype.
    """
    return Codecs(
        video=load_video_codec(folder / VIDEO_FOLDER, video_dtype),
        audio=load_audio_codec(folder / AUDIO_FOLDER),
        text=load_text_encoder(folder),
    )


def load_video_codec(folder: Path, dtype: torch.dtype = torch.float32) -> VideoCodec:
    """The video codec in `folder` (a video_vae folder). Raises as `load_codecs`."""
    codec: VideoCodec = _implementation(folder, VIDEO_CODECS).load(folder, dtype)
    return codec


def load_audio_codec(folder: Path) -> AudioCodec:
    """The audio codec in `folder` (an audio_vae folder). Raises as `load_codecs`."""
    codec: AudioCodec = _implementation(folder, AUDIO_CODECS).load(folder)
    return codec


def load_text_encoder(folder: Path) -> TextEncoder:
    """The text encoder in `folder`, which holds text_encoder/ and tokenizer/. Raises as `load_codecs`."""
    encoder: TextEncoder = _implementation(folder / TEXT_FOLDER, TEXT_ENCODERS).load(folder)
    return encoder


def video_latent_shape(codec: VideoCodec, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    """[C, F, h, w] of a clip.

    Raises
    ------
    ValueError : if the codec's strides do not divide the clip.
    """
    if (num_frames - 1) % codec.temporal_stride or height % codec.spatial_stride or width % codec.spatial_stride:
        raise ValueError(
            f"a clip of {num_frames} frames of {height}x{width}; expected 1 + k * {codec.temporal_stride} frames and "
            f"sides that {codec.spatial_stride} divides"
        )
    num_latent_frames = 1 + (num_frames - 1) // codec.temporal_stride
    return codec.latent_channels, num_latent_frames, height // codec.spatial_stride, width // codec.spatial_stride


def audio_latent_shape(codec: AudioCodec, num_samples: int) -> tuple[int, int]:
    """[C, L] of a clip."""
    return codec.latent_channels, -(-num_samples // codec.hop)


def read_component_config(folder: Path) -> dict[str, Any]:
    """config.json of a component folder.

    Raises
    ------
    UserError : if there is none, or it is not a JSON object.
    """
    path = folder / CONFIG_FILE
    remedy = "name a folder in the release's layout, or run `mova encode` to make one"
    if not path.is_file():
        raise UserError(f"no {CONFIG_FILE} in {folder}", expected="a codec component", remedy=remedy)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error})", expected="a JSON object", remedy=remedy) from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds {type(config).__name__}", expected="a JSON object", remedy=remedy)
    return config


def _implementation(folder: Path, known: dict[str, str]) -> Any:
    config = read_component_config(folder)
    class_name = config.get("_class_name") or next(iter(config.get("architectures") or ()), "nothing")
    if class_name not in known:
        raise UserError(
            f"{folder / CONFIG_FILE} names {class_name}",
            expected=f"one of {', '.join(known)}, the ones this version can run",
            remedy="choose a folder that holds one of those",
        )
    module_name, name = known[class_name].split(":")
    return getattr(importlib.import_module(module_name), name)
