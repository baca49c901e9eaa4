"""Straight paths between data and noise, and the levels drawn on them."""

from __future__ import annotations

import pytest
import torch

from mova_core.diffusion.flow import denoised, draw_sigma, noised, shifted, target_velocity, unshifted


def test_shift_spends_the_path_near_noise_and_can_be_undone() -> None:
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(shifted(u, 5.0), 5 * u / (1 + 4 * u))
    torch.testing.assert_close(unshifted(shifted(u, 5.0), 5.0), u)
    assert torch.equal(shifted(u, 1.0), u)


def test_the_boundary_of_the_experts_falls_where_the_report_says() -> None:
    """At shift 5 the upper 0.357 of u lies at sigma 0.9 and above."""
    assert 1 - unshifted(torch.tensor(0.9, dtype=torch.float64), 5.0).item() == pytest.approx(0.357, abs=5e-4)


def test_each_sample_is_noised_to_its_own_level_and_back() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 2, 2, generator=generator, dtype=torch.float64)
    sigma = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    noisy = noised(clean, noise, sigma)
    assert torch.equal(noisy[0], clean[0])
    assert torch.equal(noisy[2], noise[2])
    torch.testing.assert_close(denoised(noisy, target_velocity(clean, noise), sigma), clean)


@pytest.mark.parametrize("within", [(0.0, 1.0), (0.9, 1.0), (0.0, 0.9)])
def test_drawn_levels_stay_within_and_are_uniform_before_the_shift(within: tuple[float, float]) -> None:
    sigma = draw_sigma(4000, 5.0, torch.Generator().manual_seed(1), within)
    assert sigma.dtype == torch.float32
    assert within[0] - 1e-6 <= sigma.min().item()
    assert sigma.max().item() <= within[1] + 1e-6
    u = unshifted(sigma.double(), 5.0)
    low, high = (unshifted(torch.tensor(bound, dtype=torch.float64), 5.0) for bound in within)
    quantiles = ((u - low) / (high - low)).quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), rtol=0, atol=0.03)


def test_draws_follow_the_generator() -> None:
    first, again, other = (draw_sigma(5, 3.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
