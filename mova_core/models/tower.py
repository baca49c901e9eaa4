"""What the video and the audio tower share: embeddings, transformer blocks and head (report section 3.1).

A block modulates its two branches by the time embedding (shift, scale, gate for attention; the same for the
feed-forward), and attends to the text in between. Axes: b sample, l token, m text row, d channel.
"""

from __future__ import annotations

import torch
from torch import nn

from kernels.adaln import gated_residual, modulated_norm
from kernels.aligned_rope import Rotation
from kernels.dispatch import Request
from mova_core.models.attention import CrossAttention, SelfAttention
from mova_core.models.context import TextContext, TowerContext
from mova_core.models.layers import GELU, LayerNorm, Linear, TimeEmbedding, TimeProjection, sinusoid
from mova_core.models.sequence_parallel import Part

MODULATIONS_PER_BLOCK = 6
"""Shift, scale, gate of attention, then of the feed-forward."""


class FeedForward(nn.Sequential):
    """Linear, GELU (tanh form), Linear."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__(Linear(dim, ffn_dim), GELU(), Linear(ffn_dim, dim))


class Block(nn.Module):
    """One transformer layer of a tower."""

    def __init__(self, dim: int, ffn_dim: int, num_heads: int, eps: float, kernels: Request = "auto") -> None:
        super().__init__()
        self.kernels = kernels
        self.self_attn = SelfAttention(dim, num_heads, eps, kernels)
        self.cross_attn = CrossAttention(dim, num_heads, eps)
        self.norm1 = LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.norm2 = LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.norm3 = LayerNorm(dim, eps=eps)
        self.ffn = FeedForward(dim, ffn_dim)
        self.modulation = nn.Parameter(torch.randn(1, MODULATIONS_PER_BLOCK, dim) / dim**0.5)

    def forward(
        self,
        x: torch.Tensor,
        context: TowerContext,
        time_modulation: torch.Tensor,
        rotation: Rotation,
        part: Part | None = None,
    ) -> torch.Tensor:
        """`x` `[b, l, d]`, all tokens or this process's part; `time_modulation` `[b or 1, 6, d]`."""
        keys, values = context.keys_and_values(self.cross_attn)
        return self.layer(x, keys, values, context.bias, time_modulation, rotation, part)

    def layer(
        self,
        x: torch.Tensor,
        text_keys: torch.Tensor,
        text_values: torch.Tensor,
        text_bias: torch.Tensor | None,
        time_modulation: torch.Tensor,
        rotation: Rotation,
        part: Part | None = None,
    ) -> torch.Tensor:
        """`forward` with the text's keys and values `[b, m, head, head_dim]` as `CrossAttention.project` gives them."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
            (self.modulation + time_modulation).to(x.dtype).chunk(MODULATIONS_PER_BLOCK, dim=1)
        )
        attended = self.self_attn(_modulated(x, self.norm1, shift_1, scale_1, self.kernels), rotation, part)
        x = gated_residual(x, attended, gate_1, backend=self.kernels)
        x = x + self.cross_attn(self.norm3(x), text_keys, text_values, text_bias)
        transformed = self.ffn(_modulated(x, self.norm2, shift_2, scale_2, self.kernels))
        return gated_residual(x, transformed, gate_2, backend=self.kernels)


def _modulated(
    x: torch.Tensor, norm: LayerNorm, shift: torch.Tensor, scale: torch.Tensor, kernels: Request
) -> torch.Tensor:
    return modulated_norm(x, shift, scale, eps=norm.eps, backend=kernels)


class Head(nn.Module):
    """From tokens to the channels of a patch, modulated by the time embedding of each sample."""

    def __init__(self, dim: int, out_features: int, eps: float, kernels: Request = "auto") -> None:
        super().__init__()
        self.kernels = kernels
        self.norm = LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.head = Linear(dim, out_features)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: torch.Tensor, time_embedding: torch.Tensor) -> torch.Tensor:
        """`x` `[b, l, d]`, `time_embedding` `[b or 1, d]`; `[b, l, out_features]`."""
        shift, scale = (self.modulation + time_embedding[:, None]).to(x.dtype).chunk(2, dim=1)
        out: torch.Tensor = self.head(_modulated(x, self.norm, shift, scale, self.kernels))
        return out


class Tower(nn.Module):
    """Embeddings, blocks and head; a subclass adds how latents become tokens and where those lie."""

    blocks: nn.ModuleList

    def __init__(
        self,
        patch_embedding: nn.Module,
        *,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        num_layers: int,
        text_dim: int,
        freq_dim: int,
        patch_out_features: int,
        eps: float,
        kernels: Request,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim is {dim} and num_heads {num_heads}; expected a multiple")
        self.num_layers = num_layers
        self.freq_dim = freq_dim
        self.head_dim = dim // num_heads
        self.patch_embedding = patch_embedding
        self.text_embedding = nn.Sequential(Linear(text_dim, dim), GELU(), Linear(dim, dim))
        self.time_embedding = TimeEmbedding(freq_dim, dim)
        self.time_projection = TimeProjection(dim, MODULATIONS_PER_BLOCK)
        self.blocks = nn.ModuleList(Block(dim, ffn_dim, num_heads, eps, kernels) for _ in range(num_layers))
        self.head = Head(dim, patch_out_features, eps, kernels)

    def embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From timesteps `[b or 1]` in 0..1000: the embedding `[b, d]` for the head and `[b, 6, d]` for the blocks.

        Raises
        ------
        ValueError : for one timestep a token, an option of the towers' family that no MOVA checkpoint was trained with.
        """
        if timestep.dim() != 1:
            raise ValueError(f"timesteps are {tuple(timestep.shape)}, expected one a sample or one for all")
        embedding = self.time_embedding(sinusoid(timestep, self.freq_dim))
        return embedding, self.time_projection(embedding).unflatten(-1, (MODULATIONS_PER_BLOCK, -1))

    def embed_text(self, text: torch.Tensor) -> torch.Tensor:
        """Text rows `[b, m, text_dim]` to `[b, m, d]`; zero rows become rows like any other, and are attended."""
        context: torch.Tensor = self.text_embedding(text)
        return context

    @property
    def product_dtype(self) -> torch.dtype:
        """The dtype that the tower's products run in."""
        layer = self.text_embedding[0]
        assert isinstance(layer, Linear)
        return layer.product_dtype

    def context(self, text: torch.Tensor | TextContext) -> TowerContext:
        """What the blocks attend to, from text rows `[b, m, text_dim]` or what is kept of them."""
        shared = TextContext(text, self.product_dtype) if isinstance(text, torch.Tensor) else text
        return shared.of(self)
