"""The Bridge's option `pooled_adaln`: audio is modulated by one pooled state of its video frame before it attends."""

from __future__ import annotations

import torch
from torch import nn

from mova_core.models.layers import LayerNorm, Linear, modulate

POOLING_EPS = 1e-6
ADALN_EPS = 1e-5


class FramePooling(nn.Module):
    """One state a video frame: a learned query attends to the frame's tokens."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, dim) / dim**0.5)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.layernorm = LayerNorm(dim, eps=POOLING_EPS)

    def forward(self, tokens: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Tokens `[b, frames * tokens_per_frame, dim]` to `[b, frames, dim]`."""
        frames = tokens.reshape(tokens.shape[0] * num_frames, -1, tokens.shape[2])
        probe = self.probe.expand(frames.shape[0], -1, -1)
        pooled, _ = self.attention(probe, frames, frames, need_weights=False)
        states: torch.Tensor = self.layernorm(pooled[:, 0]).unflatten(0, (-1, num_frames))
        return states


class AdaptiveNorm(nn.Module):
    """A LayerNorm whose scale and shift come from another sequence of the same length."""

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__()
        self.linear = Linear(condition_dim, 2 * dim)
        self.norm = LayerNorm(dim, eps=ADALN_EPS, elementwise_affine=False)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.linear(nn.functional.silu(condition)).chunk(2, dim=-1)
        return modulate(self.norm(x), shift, scale)


def pooling_heads(dim: int, condition_dim: int, head_dim: int) -> int:
    """Heads of the frame pooling: the asking tower's where they divide the pooled width (as in the release), else the
    pooled width's own (where the release fails)."""
    heads = dim // head_dim
    return heads if condition_dim % heads == 0 else condition_dim // head_dim
