"""Attention in plain PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional


def attend(q_bqhd: torch.Tensor, k_bkhd: torch.Tensor, v_bkhd: torch.Tensor) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v; `[b, q, h, d]`.

    PyTorch's fused attention serves accelerators. On a CPU two batched products with a softmax between them are faster
    at the small shapes that train there.
    """
    q_bhqd, k_bhkd, v_bhkd = (x.transpose(1, 2) for x in (q_bqhd, k_bkhd, v_bkhd))
    if q_bqhd.device.type == "cpu":
        scores_bhqk = torch.matmul(q_bhqd * q_bqhd.shape[-1] ** -0.5, k_bhkd.transpose(-1, -2))
        out_bhqd = torch.matmul(scores_bhqk.softmax(dim=-1), v_bhkd)
    else:
        out_bhqd = functional.scaled_dot_product_attention(q_bhqd, k_bhkd, v_bhkd)
    return out_bhqd.transpose(1, 2)
