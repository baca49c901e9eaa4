"""The released video VAE (Wan2.1's, through diffusers) behind the protocol of `mova_core.codecs.base`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mova_core.codecs.base import read_component_config
from mova_core.data.weights import fill, mapped_weights
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
        return self._normalised_modes(
            torch.split(video, [1] + [self.temporal_stride] * (video.shape[2] // self.temporal_stride), dim=2)
        )

    @torch.no_grad()
    def encode_first_frame(self, first: Tensor, num_frames: int) -> Tensor:
        """[B, 3, 1, H, W] in [-1, 1] -> latents of `num_frames` frames that are mid-grey (0) after the first.

        Once the coder has forgotten the first frame, grey goes on giving the same latent, which is then repeated.
        """
        grey = first.new_zeros(*first.shape[:2], self.temporal_stride, *first.shape[3:])
        return self._normalised_modes([first] + [grey] * ((num_frames - 1) // self.temporal_stride))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 16, F, h, w] -> float32 [B, 3, 1 + 4 (F - 1), 8h, 8w] in [-1, 1]."""
        return torch.cat(list(self.decode_parts(latents)), dim=2)

    @torch.no_grad()
    def decode_parts(self, latents: Tensor) -> Iterator[Tensor]:
        """`decode`, latent frame by latent frame: what memory holds does not grow with the clip.

        The decoder is causal in time and is carried on from its own cache, so nothing differs from one pass.
        """
        raw = latents.float() * self._std.to(latents.device) + self._mean.to(latents.device)
        given = self.vae.post_quant_conv(raw.to(self.vae.dtype))
        cache = _empty_cache(self.vae.decoder)
        for index in range(given.shape[2]):
            frame = given[:, :, index : index + 1]
            part: Tensor = self.vae.decoder(frame, feat_cache=cache, feat_idx=[0], first_chunk=index == 0)
            yield part.float().clamp(-1, 1)

    def _normalised_modes(self, parts: Sequence[Tensor]) -> Tensor:
        """Latents of a clip given as its first frame and groups of four, carried on from the encoder's own cache."""
        cache = _empty_cache(self.vae.encoder)
        coded: list[Tensor] = []
        for index, part in enumerate(parts):
            before = list(cache)
            coded.append(self.vae.encoder(part.to(self.vae.dtype), feat_cache=cache, feat_idx=[0]))
            if part is parts[-1] and index > 1 and part is parts[index - 1] and _equal(before, cache):
                coded += coded[-1:] * (len(parts) - 1 - index)
                break
        mode: Tensor = self.vae.quant_conv(torch.cat(coded, dim=2)).chunk(2, dim=1)[0].float()
        return (mode - self._mean.to(mode.device)) / self._std.to(mode.device)

    def save(self, folder: Path) -> None:
        """Writes diffusers' config.json and weights."""
        self.vae.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Self:
        """Loads a video_vae folder; nothing is fetched. Weights that are stored in `dtype` stay mapped from their file.

        Raises
        ------
        UserError : if diffusers is not installed, the configuration is of no Wan 2.1 VAE, or the weights do not fit it.
        """
        entries = read_component_config(folder)
        try:
            from diffusers import AutoencoderKLWan
        except ImportError as error:
            raise UserError(
                f"{folder} holds a Wan video VAE and diffusers is not installed",
                expected="the package `diffusers`",
                remedy="run `pip install 'mova-lineage[release-codecs]'`",
            ) from error
        if entries.get("patch_size") is not None:
            raise _refused(folder, f"patch_size is {entries['patch_size']!r}, of another family's VAE")
        try:
            with torch.device("meta"):
                vae = AutoencoderKLWan.from_config(entries)  # type: ignore[no-untyped-call]  # diffusers has no types
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise _refused(folder, str(error)) from error
        fill(vae, mapped_weights(folder), folder, dtype=dtype)
        return cls(vae)

    def to(self, device: torch.device) -> Self:
        self.vae.to(device)
        return self


def _empty_cache(coder: nn.Module) -> list[Any]:
    """What diffusers' causal coders keep from part to part: one place for each convolution over time."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    return [None] * sum(isinstance(layer, WanCausalConv3d) for layer in coder.modules())


def _equal(before: list[Any], after: list[Any]) -> bool:
    """Whether a cache stayed as it was, so that equal input will give equal output for ever."""
    return all(
        old is new or (isinstance(old, Tensor) and isinstance(new, Tensor) and torch.equal(old, new))
        for old, new in zip(before, after, strict=True)
    )


def _refused(folder: Path, why: str) -> UserError:
    return UserError(
        f"the video VAE of {folder} does not load ({why})",
        expected="diffusers' configuration of a Wan 2.1 VAE",
        remedy="name a folder that holds one",
    )
