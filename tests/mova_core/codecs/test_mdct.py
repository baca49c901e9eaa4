"""The MDCT against its textbook definition, and its promises: exact inverse, equal energy, no delay."""

from __future__ import annotations

import math

import pytest
import torch

from mova_core.codecs.mdct import inverse_mdct, mdct

HOP = 96


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("overlap", [0, 2, 32, HOP])
@pytest.mark.parametrize("num_hops", [1, 2, 7])
def test_the_inverse_is_exact_up_to_both_ends(overlap: int, num_hops: int) -> None:
    waveform = noise(2, 3, num_hops * HOP)
    coefficients = mdct(waveform, HOP, overlap)
    assert coefficients.shape == (2, 3, num_hops, HOP)
    torch.testing.assert_close(inverse_mdct(coefficients, overlap), waveform, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [0, 32, HOP])
def test_energy_is_kept(overlap: int) -> None:
    waveform = noise(5 * HOP)
    assert mdct(waveform, HOP, overlap).norm().item() == pytest.approx(waveform.norm().item(), rel=1e-12)


def test_single_precision_is_enough() -> None:
    waveform = noise(20 * 960).float()
    torch.testing.assert_close(inverse_mdct(mdct(waveform, 960, 960), 960), waveform, rtol=0, atol=1e-5)


def test_full_overlap_is_the_windowed_cosine_transform_of_the_textbook() -> None:
    waveform = noise(6 * HOP)
    hop = 3
    position = torch.arange(2 * HOP, dtype=torch.float64)
    window = (math.pi / (2 * HOP) * (position + 0.5)).sin()
    frequency = torch.arange(HOP, dtype=torch.float64) + 0.5
    cosines = math.sqrt(2 / HOP) * (math.pi / HOP * (position[:, None] - HOP / 2 + 0.5) * frequency).cos()
    start = hop * HOP - HOP // 2
    expected = (waveform[start : start + 2 * HOP] * window) @ cosines
    torch.testing.assert_close(mdct(waveform, HOP, HOP)[hop], expected, rtol=0, atol=1e-12)


def test_a_tone_lands_at_its_frequency() -> None:
    rate, hop, tone_hz = 48000, 960, 3012.5
    waveform = (2 * math.pi * tone_hz / rate * torch.arange(10 * hop, dtype=torch.float64)).sin()
    power = mdct(waveform, hop, hop)[3:7].square().mean(0)
    assert (power.argmax().item() + 0.5) * rate / (2 * hop) == pytest.approx(tone_hz, abs=rate / (2 * hop))


@pytest.mark.parametrize("sample", [3 * HOP, 3 * HOP + HOP // 2, 4 * HOP - 1])
def test_a_click_shows_in_its_own_hop_and_at_most_half_an_overlap_beyond(sample: int) -> None:
    waveform = torch.zeros(8 * HOP, dtype=torch.float64)
    waveform[sample] = 1.0
    energy = mdct(waveform, HOP, HOP).square().sum(-1)
    assert energy.argmax().item() == sample // HOP or energy[sample // HOP] == pytest.approx(energy.max())
    assert energy[[0, 1, 6, 7]].sum() == 0
