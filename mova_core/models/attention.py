"""Self- and cross-attention of the towers: RMSNorm over the whole width of queries and keys, then heads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from kernels.aligned_rope import Rotation, norm_rotate
from kernels.bridge_attention.reference import attend
from kernels.dispatch import Request
from mova_core.models.layers import Linear, RMSNorm
from mova_core.models.sequence_parallel import Part


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

    def forward(self, x: torch.Tensor, rotation: Rotation, part: Part | None = None) -> torch.Tensor:
        """`x` `[batch, token, dim]`: all tokens, or the part that this process holds."""
        first = 0 if part is None else part.first_token
        q = self._turned(self.q(x), self.norm_q, rotation, first)
        k = self._turned(self.k(x), self.norm_k, rotation, first)
        v = self.v(x).unflatten(-1, (self.num_heads, -1))
        if part is None:
            attended = attend(q, k, v)
        else:
            attended = part.by_tokens(attend(part.by_heads(q), part.by_heads(k), part.by_heads(v)))
        out: torch.Tensor = self.o(attended.flatten(2))
        return out

    def _turned(self, projected: torch.Tensor, norm: RMSNorm, rotation: Rotation, first_token: int) -> torch.Tensor:
        return norm_rotate(
            projected,
            norm.weight,
            rotation,
            num_heads=self.num_heads,
            eps=norm.eps,
            first_token=first_token,
            backend=self.kernels,
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

    def project(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values `[b, m, head, head_dim]` of text rows `[b, m, dim]`."""
        heads = (self.num_heads, -1)
        return self.norm_k(self.k(rows)).unflatten(-1, heads), self.v(rows).unflatten(-1, heads)

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """`x` `[b, token, dim]`, keys and values from `project`; `bias` `[m]` is added to the scores of each row.

        Every row is attended, padding included.
        """
        q = self.norm_q(self.q(x)).unflatten(-1, (self.num_heads, -1))
        attended = attend(q, keys, values) if bias is None else _attend_biased(q, keys, values, bias)
        out: torch.Tensor = self.o(attended.flatten(2))
        return out


def _attend_biased(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    mask = bias.to(q.dtype)[None, None, None]
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
