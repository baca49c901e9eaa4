"""The video tower: a diffusion transformer over latent patches (the release's `WanModel`)."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional

from kernels.aligned_rope import Rotation
from kernels.dispatch import Request
from mova_core.models.layers import wide_dtype
from mova_core.models.rope import Grid, video_rotation
from mova_core.models.tower import Tower


@dataclasses.dataclass(frozen=True)
class VideoTowerConfig:
    """Shape of a video tower; names follow the release's video_dit/config.json.

    Attributes
    ----------
    in_dim : channels read: the noisy latents and, where an image conditions, 4 mask and as many first-frame channels.
    out_dim : channels of the predicted velocity.
    patch_size : latent frames, rows and columns of one token.
    spatial_rope_scale : multiplies row and column positions; 1 in the release.
    """

    dim: int
    in_dim: int
    ffn_dim: int
    out_dim: int
    text_dim: int
    freq_dim: int
    num_heads: int
    num_layers: int
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    spatial_rope_scale: float = 1.0


class PatchEmbedding3d(nn.Conv3d):
    """A convolution whose stride is its kernel, computed as one matrix product over patches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[b, c, frames, rows, columns]` to tokens `[b, l, d]`, columns fastest."""
        batch, channels, *extent = x.shape
        split = [part for n, p in zip(extent, self.kernel_size, strict=True) for part in (n // p, p)]
        # b, c, F, pf, R, pr, C, pc -> b, F, R, C, c, pf, pr, pc
        tokens = x.reshape(batch, channels, *split).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        assert self.bias is not None
        return functional.linear(tokens.to(self.weight.dtype), self.weight.flatten(1), self.bias)


class VideoTower(Tower):
    """Predicts the velocity of video latents."""

    def __init__(self, config: VideoTowerConfig, kernels: Request = "auto") -> None:
        super().__init__(
            PatchEmbedding3d(config.in_dim, config.dim, config.patch_size, stride=config.patch_size),
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            num_layers=config.num_layers,
            text_dim=config.text_dim,
            freq_dim=config.freq_dim,
            patch_out_features=config.out_dim * math.prod(config.patch_size),
            eps=config.eps,
            kernels=kernels,
        )
        self.config = config

    def embed(self, latents: torch.Tensor) -> tuple[torch.Tensor, Grid]:
        """Latents `[b, in_dim, F, h, w]` to tokens `[b, l, d]` and their grid.

        Raises
        ------
        ValueError : if the channels differ from `in_dim` or the patch does not divide the latents.
        """
        _, channels, *extent = latents.shape
        config = self.config
        if channels != config.in_dim or any(n % p for n, p in zip(extent, config.patch_size, strict=True)):
            raise ValueError(
                f"video latents are {tuple(latents.shape)}, expected {config.in_dim} channels "
                f"(condition included) and extents divisible by the patch {config.patch_size}"
            )
        frames, rows, columns = (n // p for n, p in zip(extent, config.patch_size, strict=True))
        return self.patch_embedding(latents), (frames, rows, columns)

    def rotation(self, tokens: torch.Tensor, grid: Grid) -> Rotation:
        """How the self-attention turns these tokens."""
        scale = self.config.spatial_rope_scale
        return video_rotation(grid, self.head_dim, scale, tokens.device, wide_dtype(tokens))

    def finish(self, tokens: torch.Tensor, time_embedding: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Tokens to the velocity `[b, out_dim, F, h, w]`, in the tokens' dtype."""
        values: torch.Tensor = self.head(tokens, time_embedding).to(tokens.dtype)
        patches = values.reshape(values.shape[0], *grid, *self.config.patch_size, -1)
        # b, F, R, C, pf, pr, pc, c -> b, c, F, pf, R, pr, C, pc
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The tower alone, without a Bridge.

        Parameters
        ----------
        latents : `[b, in_dim, F, h, w]`, condition channels included.
        timestep : `[b]`, or `[1]` for all samples, in 0..1000.
        text : `[b, m, text_dim]`.

        Returns
        -------
        The velocity `[b, out_dim, F, h, w]`.
        """
        tokens, grid = self.embed(latents)
        embedding, modulation = self.embed_time(timestep)
        context, rotation = self.context(text), self.rotation(tokens, grid)
        for block in self.blocks:
            tokens = block(tokens, context, modulation, rotation)
        return self.finish(tokens, embedding, grid)
