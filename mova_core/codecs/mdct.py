"""The modified discrete cosine transform with hops that start at sample 0, as an orthonormal map.

Written as Malvar's lapped transform: around every border between two hops the samples are rotated in mirrored pairs,
which is what window and fold of the MDCT amount to; then each hop takes a DCT-IV. Both parts are orthonormal, so the
inverse is exact, and there are as many coefficients as samples. At the two ends of the signal no pair is rotated.

Hop j owns samples [j * hop, (j + 1) * hop) and its basis functions reach half an overlap into both neighbours, evenly:
the transform has no delay.

Source: H. S. Malvar, "Lapped transforms for efficient transform/subband coding", IEEE Trans. ASSP 38(6), 1990.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mdct(waveform: Tensor, hop: int, overlap: int) -> Tensor:
    """Samples [..., L * hop] -> coefficients [..., L, hop]; coefficient k lies about (k + 0.5) / (2 * hop) of the rate.

    hop : even. overlap : even, 0 (blocks) to `hop` (the sine window of length 2 * hop).
    """
    hops = waveform.reshape(*waveform.shape[:-1], -1, hop).clone()
    _rotate_borders(hops, overlap, forward=True)
    return _dct_iv(hops)


def inverse_mdct(coefficients: Tensor, overlap: int) -> Tensor:
    """Coefficients [..., L, hop] -> samples [..., L * hop]."""
    hops = _dct_iv(coefficients)
    _rotate_borders(hops, overlap, forward=False)
    return hops.flatten(-2)


def _rotate_borders(hops: Tensor, overlap: int, *, forward: bool) -> None:
    """Rotates, in place, sample n after each border with sample n before it, by the sine window's angle there."""
    reach = overlap // 2
    if reach == 0 or hops.shape[-2] == 1:
        return
    step = torch.arange(reach, dtype=torch.float64) + 0.5
    angle = (math.pi / 4 * (1 - step / reach)).to(hops)
    cosine, sine = angle.cos(), angle.sin() if forward else -angle.sin()
    before = hops[..., :-1, -reach:].flip(-1)
    after = hops[..., 1:, :reach]
    rotated_before = cosine * before - sine * after
    rotated_after = cosine * after + sine * before
    hops[..., :-1, -reach:] = rotated_before.flip(-1)
    hops[..., 1:, :reach] = rotated_after


def _dct_iv(rows: Tensor) -> Tensor:
    """Orthonormal DCT-IV of the last axis (even length), its own inverse; one complex FFT of half the length."""
    length = rows.shape[-1]
    half = torch.arange(length // 2, dtype=torch.float64, device=rows.device)
    angles = -math.pi * (8 * half + 1) / (8 * length)
    packed = torch.complex(rows[..., 0::2].contiguous(), rows[..., 1::2].flip(-1).contiguous())
    twiddle = torch.polar(torch.ones_like(angles), angles).to(packed.dtype)
    turned = torch.fft.fft(packed * twiddle) * twiddle
    result = torch.empty_like(rows, memory_format=torch.contiguous_format)
    result[..., 0::2] = turned.real
    result[..., 1::2] = -turned.imag.flip(-1)
    return result * math.sqrt(2 / length)
