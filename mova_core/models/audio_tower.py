"""The audio tower: a diffusion transformer over a latent sequence (the release's `WanAudioModel`)."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from kernels.aligned_rope import Rotation
from kernels.dispatch import Request
from mova_core.models.layers import wide_dtype
from mova_core.models.rope import AudioScheme, audio_rotation
from mova_core.models.tower import Tower


@dataclasses.dataclass(frozen=True)
class AudioTowerConfig:
    """Shape of the audio tower; names follow the release's audio_dit/config.json.

    Attributes
    ----------
    in_dim, out_dim : channels of the audio latents.
    patch_size : latents of one token.
    vae_type : the position scheme, named after the codec it came with.
    """

    dim: int
    in_dim: int
    ffn_dim: int
    out_dim: int
    text_dim: int
    freq_dim: int
    num_heads: int
    num_layers: int
    patch_size: tuple[int] = (1,)
    eps: float = 1e-6
    vae_type: AudioScheme = "dac"


class PatchEmbedding1d(nn.Conv1d):
    """A convolution whose stride is its kernel, computed as one matrix product over patches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[b, c, length]` to tokens `[b, l, d]`."""
        tokens = x.reshape(*x.shape[:2], -1, self.kernel_size[0]).transpose(1, 2).flatten(2)
        assert self.bias is not None
        return functional.linear(tokens.to(self.weight.dtype), self.weight.flatten(1), self.bias)


class AudioTower(Tower):
    """Predicts the velocity of audio latents."""

    def __init__(self, config: AudioTowerConfig, kernels: Request = "auto") -> None:
        super().__init__(
            PatchEmbedding1d(config.in_dim, config.dim, config.patch_size, stride=config.patch_size),
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            num_layers=config.num_layers,
            text_dim=config.text_dim,
            freq_dim=config.freq_dim,
            patch_out_features=config.out_dim * config.patch_size[0],
            eps=config.eps,
            kernels=kernels,
        )
        self.config = config

    def embed(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents `[b, in_dim, length]` to tokens `[b, l, d]`.

        Raises
        ------
        ValueError : if the channels differ from `in_dim` or the patch does not divide the length.
        """
        _, channels, length = latents.shape
        if channels != self.config.in_dim or length % self.config.patch_size[0]:
            raise ValueError(
                f"audio latents are {tuple(latents.shape)}, expected {self.config.in_dim} channels and a length "
                f"divisible by the patch {self.config.patch_size[0]}"
            )
        tokens: torch.Tensor = self.patch_embedding(latents)
        return tokens

    def rotation(self, tokens: torch.Tensor) -> Rotation:
        """How the self-attention turns these tokens."""
        scheme = self.config.vae_type
        return audio_rotation(tokens.shape[1], self.head_dim, scheme, tokens.device, wide_dtype(tokens))

    def finish(self, tokens: torch.Tensor, time_embedding: torch.Tensor) -> torch.Tensor:
        """Tokens to the velocity `[b, out_dim, length]`, in the tokens' dtype."""
        values: torch.Tensor = self.head(tokens, time_embedding).to(tokens.dtype)
        patches = values.reshape(*values.shape[:2], self.config.patch_size[0], -1)
        return patches.permute(0, 3, 1, 2).flatten(2)

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The tower alone, without a Bridge.

        Parameters
        ----------
        latents : `[b, in_dim, length]`.
        timestep : `[b]`, or `[1]` for all samples, in 0..1000.
        text : `[b, m, text_dim]`.

        Returns
        -------
        The velocity `[b, out_dim, length]`.
        """
        tokens = self.embed(latents)
        embedding, modulation = self.embed_time(timestep)
        context, rotation = self.context(text), self.rotation(tokens)
        for block in self.blocks:
            tokens = block(tokens, context, modulation, rotation)
        return self.finish(tokens, embedding)
