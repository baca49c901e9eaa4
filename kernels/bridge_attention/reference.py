"""Attention in plain PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional


def attend(q_bqhd: torch.Tensor, k_bkhd: torch.Tensor, v_bkhd: torch.Tensor) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v; `[b, q, h, d]`."""
    q_bhqd, k_bhkd, v_bhkd = (x.transpose(1, 2) for x in (q_bqhd, k_bkhd, v_bkhd))
    return functional.scaled_dot_product_attention(q_bhqd, k_bhkd, v_bhkd).transpose(1, 2)
