"""The closed-form video codec: principal components of patches, fitted on the training clips.

The first frame is cut into 1x8x8 patches and has its own basis, since nothing precedes it; later frames go in groups of
four, cut into 4x8x8 patches. Both give `latent_channels` numbers a patch. Strides and frame grouping are those of the
released video VAE, so shapes and times agree with it. One fit serves every resolution it saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mova_core.codecs.base import CONFIG_FILE, read_component_config
from mova_core.codecs.pca import LinearCode, Moments
from mova_core.data.weights import WEIGHTS_FILE, fill, mapped_weights
from mova_core.errors import UserError
from mova_core.files import write_bytes, write_text


class NanoVideoCodec(nn.Module):
    """See `mova_core.codecs.base.VideoCodec`."""

    temporal_stride = 4
    spatial_stride = 8

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.first = LinearCode(self.patch_size(1), latent_channels)
        self.later = LinearCode(self.patch_size(self.temporal_stride), latent_channels)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, 1 + 4k, H, W] in [-1, 1] -> [B, C, 1 + k, H / 8, W / 8]."""
        parts = [self.first.encode(self.patches(video[:, :, :1]))]
        if video.shape[2] > 1:
            parts.append(self.later.encode(self.patches(video[:, :, 1:])))
        return torch.cat(parts, dim=1).movedim(-1, 1).contiguous()

    @torch.no_grad()
    def encode_first_frame(self, first: Tensor, num_frames: int) -> Tensor:
        """[B, 3, 1, H, W] in [-1, 1] -> latents of `num_frames` frames that are mid-grey (0) after the first."""
        given = self.encode(first)
        grey = self.later.encode(first.new_zeros(1, self.patch_size(self.temporal_stride)))
        num_later = (num_frames - 1) // self.temporal_stride
        rest = grey.view(1, -1, 1, 1, 1).expand(given.shape[0], -1, num_later, *given.shape[3:])
        return torch.cat((given, rest), dim=2)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, F, h, w] -> [B, 3, 1 + 4 (F - 1), 8h, 8w], clamped to [-1, 1]."""
        codes = latents.movedim(1, -1)
        parts = [self._from_patches(self.first.decode(codes[:, :1]), 1)]
        if codes.shape[1] > 1:
            parts.append(self._from_patches(self.later.decode(codes[:, 1:]), self.temporal_stride))
        return torch.cat(parts, dim=2).clamp(-1, 1)

    def decode_parts(self, latents: Tensor) -> Iterator[Tensor]:
        """One part: what this codec decodes is small."""
        yield self.decode(latents)

    def save(self, folder: Path) -> None:
        """Writes config.json and the weights."""
        config = {"_class_name": "NanoVideoCodec", "latent_channels": self.latent_channels}
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(folder / WEIGHTS_FILE, save(weights))
        write_text(folder / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Self:
        """Reads what `save` wrote.

        Raises
        ------
        UserError : for another dtype than float32: a product of this size gains nothing by one.
        """
        if dtype != torch.float32:
            raise UserError(
                f"the video codec in {folder} was asked to compute in {str(dtype).removeprefix('torch.')}",
                expected="float32, the only one that the nano codec has",
                remedy="leave --vae-dtype out",
            )
        codec = cls(read_component_config(folder)["latent_channels"])
        fill(codec, mapped_weights(folder), folder)
        return codec

    @classmethod
    def patch_size(cls, num_frames: int) -> int:
        """Numbers in a patch of `num_frames` frames."""
        return num_frames * cls.spatial_stride**2 * 3

    @classmethod
    def patches(cls, frames: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> [B, T', h, w, t * 8 * 8 * 3], t frames a group: 1 for one frame, else 4."""
        side = cls.spatial_stride
        batch, _, length, height, width = frames.shape
        together = 1 if length == 1 else cls.temporal_stride
        cut = frames.reshape(batch, 3, length // together, together, height // side, side, width // side, side)
        return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)

    @classmethod
    def _from_patches(cls, patches: Tensor, together: int) -> Tensor:
        """The inverse of `patches`; `together` frames a group."""
        side = cls.spatial_stride
        batch, groups, rows, columns, _ = patches.shape
        cut = patches.reshape(batch, groups, rows, columns, together, side, side, 3).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return cut.reshape(batch, 3, groups * together, rows * side, columns * side)


class NanoVideoFitter:
    """Fits a codec to clips given one by one. Every clip counts the same, whatever its resolution."""

    def __init__(self, latent_channels: int) -> None:
        self._codec = NanoVideoCodec(latent_channels)
        self._first = Moments(NanoVideoCodec.patch_size(1))
        self._later = Moments(NanoVideoCodec.patch_size(NanoVideoCodec.temporal_stride))

    def add(self, clip: Tensor) -> None:
        """Takes a clip [3, 1 + 4k, H, W] in [-1, 1] into account."""
        for moments, frames in ((self._first, clip[:, :1]), (self._later, clip[:, 1:])):
            rows = NanoVideoCodec.patches(frames[None]).flatten(0, -2)
            moments.add(rows, weight=1 / len(rows))

    def finish(self) -> NanoVideoCodec:
        """The codec.

        Raises
        ------
        UserError : if the clips are all one flat colour.
        """
        channels = self._codec.latent_channels
        self._codec.first = LinearCode.fit(self._first, channels, centred=True, what="picture")
        self._codec.later = LinearCode.fit(self._later, channels, centred=True, what="picture")
        return self._codec
