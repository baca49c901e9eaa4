"""Aligned RoPE: a rotation whose scores depend on the distance in time and on nothing else."""

from __future__ import annotations

import pytest
import torch

from kernels.aligned_rope import aligned_rope
from kernels.dispatch import KernelUnavailable


def tables(positions: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    inverse = 10000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(positions, inverse).repeat(1, 2)
    return angles.cos(), angles.sin()


def test_scores_depend_on_the_difference_of_positions_only() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 12, generator=generator, dtype=torch.float64)
    scores = []
    for shift in (0.0, 17.5):
        at = torch.tensor([3.25 + shift], dtype=torch.float64), torch.tensor([11.0 + shift], dtype=torch.float64)
        rotated_q = aligned_rope(q, *tables(at[0], 12), backend="reference")
        rotated_k = aligned_rope(k, *tables(at[1], 12), backend="reference")
        scores.append((rotated_q * rotated_k).sum())
    torch.testing.assert_close(scores[0], scores[1])


def test_first_half_turns_against_second_half() -> None:
    x = torch.zeros(1, 1, 1, 4)
    x[..., 0] = 1.0
    quarter = torch.tensor([[torch.pi / 2, 0.0, torch.pi / 2, 0.0]])
    turned = aligned_rope(x, quarter.cos(), quarter.sin(), backend="auto")
    torch.testing.assert_close(turned[0, 0, 0], torch.tensor([0.0, 0.0, 1.0, 0.0]))


def test_keeps_the_dtype() -> None:
    cos, sin = tables(torch.arange(3, dtype=torch.float64), 4)
    assert aligned_rope(torch.ones(1, 3, 2, 4, dtype=torch.bfloat16), cos, sin, "auto").dtype == torch.bfloat16


def test_tables_that_do_not_fit_are_refused() -> None:
    cos, sin = tables(torch.arange(3, dtype=torch.float64), 4)
    with pytest.raises(ValueError, match="5 tokens of head_dim 4"):
        aligned_rope(torch.ones(1, 5, 2, 4), cos, sin, "auto")


def test_triton_is_refused_until_it_is_built() -> None:
    cos, sin = tables(torch.arange(3, dtype=torch.float64), 4)
    with pytest.raises(KernelUnavailable, match="not built yet"):
        aligned_rope(torch.ones(1, 3, 2, 4), cos, sin, "triton")
