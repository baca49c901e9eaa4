"""Self- and cross-attention of the towers: RMSNorm over the whole width of queries and keys, then heads."""

from __future__ import annotations

import torch
from torch import nn

from kernels.aligned_rope import Rotation, norm_rotate
from kernels.bridge_attention.reference import attend
from kernels.dispatch import Request
from mova_core.models.layers import Linear, RMSNorm


class SelfAttention(nn.Module):
    """Attention among one modality's tokens, rotated by their positions."""

    def __init__(self, dim: int, num_heads: int, eps: float, kernels: Request = "auto") -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernels = kernels
        self.q = Linear(dim, dim)
        self.k = Linear(dim, dim)
        self.v = Linear(dim, dim)
        self.o = Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """`x` `[batch, token, dim]`."""
        q = self._turned(self.q(x), self.norm_q, rotation)
        k = self._turned(self.k(x), self.norm_k, rotation)
        out: torch.Tensor = self.o(attend(q, k, self.v(x).unflatten(-1, (self.num_heads, -1))).flatten(2))
        return out

    def _turned(self, projected: torch.Tensor, norm: RMSNorm, rotation: Rotation) -> torch.Tensor:
        return norm_rotate(
            projected, norm.weight, rotation, num_heads=self.num_heads, eps=norm.eps, backend=self.kernels
        )


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
