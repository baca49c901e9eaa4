"""The half-whitened principal components, on data whose answer is known."""

from __future__ import annotations

import pytest
import torch

from mova_core.codecs.pca import LinearCode, Moments
from mova_core.errors import UserError

SIGMAS = torch.tensor([4.0, 1.0, 0.25])


def rows(count: int = 20000, seed: int = 0) -> torch.Tensor:
    """Independent axes of known spread, turned by a fixed rotation, about a mean of (1, -2, 3)."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    return (torch.randn(count, 3, generator=generator) * SIGMAS) @ rotation + torch.tensor([1.0, -2.0, 3.0])


def fitted(data: torch.Tensor, num_channels: int, centred: bool = True) -> LinearCode:
    moments = Moments(data.shape[1])
    for part in data.split(1000):
        moments.add(part)
    return LinearCode.fit(moments, num_channels, centred=centred, what="test data")


def test_all_components_reconstruct_exactly() -> None:
    data = rows()
    code = fitted(data, 3)
    torch.testing.assert_close(code.decode(code.encode(data)), data, rtol=0, atol=1e-4)


def test_codes_have_unit_mean_variance_and_half_the_whitening() -> None:
    variances = fitted(rows(), 3).encode(rows()).var(0)
    assert variances.mean().item() == pytest.approx(1.0, rel=0.02)
    # Components of spread 4, 1 and 1/4: after dividing by the root of the spread, variances go as the spread itself.
    torch.testing.assert_close(variances / variances[1], SIGMAS, rtol=0.03, atol=0)


def test_dropped_components_lose_their_own_variance_and_no_more() -> None:
    data = rows()
    code = fitted(data, 2)
    error = (code.decode(code.encode(data)) - data).square().sum(1).mean().item()
    assert error == pytest.approx(SIGMAS[2].item() ** 2, rel=0.05)


def test_weights_count_rows_as_if_they_were_repeated() -> None:
    once, twice = Moments(3), Moments(3)
    data = rows(100)
    once.add(data, weight=2.0)
    twice.add(torch.cat([data, data]))
    assert once.mean() == pytest.approx(twice.mean())
    assert once.covariance(once.mean()) == pytest.approx(twice.covariance(twice.mean()), rel=1e-5)


def test_an_uncentred_code_keeps_zero_at_zero() -> None:
    code = fitted(rows(), 2, centred=False)
    assert code.encode(torch.zeros(1, 3)).abs().max() == 0
    assert code.decode(torch.zeros(1, 2)).abs().max() == 0


def test_the_same_data_gives_the_same_bits() -> None:
    first, second = fitted(rows(), 3), fitted(rows(), 3)
    assert all(torch.equal(first.state_dict()[name], tensor) for name, tensor in second.state_dict().items())


def test_directions_without_variance_are_not_blown_up() -> None:
    data = rows()
    flat = torch.cat([data, torch.zeros(len(data), 2)], dim=1)
    codes = fitted(flat, 5).encode(flat)
    assert torch.isfinite(codes).all()
    assert codes[:, 3:].abs().max() < 0.05


def test_data_that_never_changes_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="the test data of the training clips never changes"):
        fitted(torch.full((100, 3), 0.5), 2)
