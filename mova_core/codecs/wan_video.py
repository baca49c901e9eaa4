"""The released video VAE (Wan2.1's, through diffusers) behind the protocol of `mova_core.codecs.base`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor

from mova_core.codecs.base import read_component_config
from mova_core.errors import UserError


class WanVideoCodec:
    """See `mova_core.codecs.base.VideoCodec`. Latents are the posterior's mode, normalised per channel.

    vae : diffusers' AutoencoderKLWan; its configuration holds the means and standard deviations.
    """

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.latent_channels: int = vae.config.z_dim
        self.temporal_stride: int = vae.config.scale_factor_temporal
        self.spatial_stride: int = vae.config.scale_factor_spatial
        per_channel = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(per_channel)
        self._std = torch.tensor(vae.config.latents_std).view(per_channel)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, 1 + 4k, H, W] in [-1, 1] -> float32 [B, 16, 1 + k, H / 8, W / 8]."""
        latents: Tensor = self.vae.encode(video.to(self.vae.dtype)).latent_dist.mode().float()
        return (latents - self._mean.to(latents.device)) / self._std.to(latents.device)

    def encode_first_frame(self, first: Tensor, num_frames: int) -> Tensor:
        """[B, 3, 1, H, W] in [-1, 1] -> latents of `num_frames` frames that are mid-grey (0) after the first."""
        grey = first.new_zeros(*first.shape[:2], num_frames - 1, *first.shape[3:])
        return self.encode(torch.cat((first, grey), dim=2))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 16, F, h, w] -> float32 [B, 3, 1 + 4 (F - 1), 8h, 8w] in [-1, 1]."""
        raw = latents.float() * self._std.to(latents.device) + self._mean.to(latents.device)
        decoded: Tensor = self.vae.decode(raw.to(self.vae.dtype)).sample.float()
        return decoded.clamp(-1, 1)

    def save(self, folder: Path) -> None:
        """Writes diffusers' config.json and weights."""
        self.vae.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads a video_vae folder; nothing is fetched.

        Raises
        ------
        UserError : if diffusers is not installed, or the folder does not load.
        """
        read_component_config(folder)
        try:
            from diffusers import AutoencoderKLWan
        except ImportError as error:
            raise UserError(
                f"{folder} holds a Wan video VAE and diffusers is not installed",
                expected="the package `diffusers`",
                remedy="run `pip install 'mova-lineage[release-codecs]'`",
            ) from error
        try:
            return cls(AutoencoderKLWan.from_pretrained(folder, local_files_only=True))  # type: ignore[no-untyped-call]
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"the video VAE of {folder} does not load ({error})",
                expected="diffusers' config.json and weights",
                remedy="name a folder that holds both whole",
            ) from error

    def to(self, device: torch.device) -> Self:
        self.vae.to(device)
        return self
