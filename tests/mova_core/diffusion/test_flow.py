"""Straight paths between data and noise, and the levels drawn on them."""

from __future__ import annotations

import pytest
import torch

from mova_core.diffusion.flow import noised, shifted, target_velocity, unshifted


def test_shift_spends_the_path_near_noise_and_can_be_undone() -> None:
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(shifted(u, 5.0), 5 * u / (1 + 4 * u))
    torch.testing.assert_close(unshifted(shifted(u, 5.0), 5.0), u)
    assert torch.equal(shifted(u, 1.0), u)


def test_the_boundary_of_the_experts_falls_where_the_report_says() -> None:
    """At shift 5 the upper 0.357 of u lies at sigma 0.9 and above."""
    assert 1 - unshifted(torch.tensor(0.9, dtype=torch.float64), 5.0).item() == pytest.approx(0.357, abs=5e-4)


def test_each_sample_is_noised_to_its_own_level() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 2, 2, generator=generator, dtype=torch.float64)
    sigma = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    noisy = noised(clean, noise, sigma)
    assert torch.equal(noisy[0], clean[0])
    assert torch.equal(noisy[2], noise[2])
    torch.testing.assert_close(noisy[1], clean[1] + 0.3 * target_velocity(clean, noise)[1])
