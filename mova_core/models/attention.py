"""Self- and cross-attention of the towers: RMSNorm over the whole width of queries and keys, then heads."""

from __future__ import annotations

import torch
from torch import nn

from kernels.bridge_attention.reference import attend
from mova_core.models.layers import Linear, RMSNorm
from mova_core.models.rope import rotate_interleaved


class SelfAttention(nn.Module):
    """Attention among one modality's tokens, rotated by their positions."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.k = Linear(dim, dim)
        self.v = Linear(dim, dim)
        self.o = Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(self, x: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        """`x` `[batch, token, dim]`; `rotations` complex `[token, head_dim / 2]`."""
        heads = (self.num_heads, -1)
        q = rotate_interleaved(self.norm_q(self.q(x)).unflatten(-1, heads), rotations)
        k = rotate_interleaved(self.norm_k(self.k(x)).unflatten(-1, heads), rotations)
        out: torch.Tensor = self.o(attend(q, k, self.v(x).unflatten(-1, heads)).flatten(2))
        return out


class CrossAttention(nn.Module):
    """Attention from one modality's tokens to the text."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.k = Linear(dim, dim)
        self.v = Linear(dim, dim)
        self.o = Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """`x` `[batch, token, dim]`, `context` `[batch, row, dim]`; every row is attended, padding included."""
        heads = (self.num_heads, -1)
        q = self.norm_q(self.q(x)).unflatten(-1, heads)
        k = self.norm_k(self.k(context)).unflatten(-1, heads)
        out: torch.Tensor = self.o(attend(q, k, self.v(context).unflatten(-1, heads)).flatten(2))
        return out
