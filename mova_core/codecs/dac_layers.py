"""The layers of DAC, a convolutional audio codec, with the parameter names of the released audio VAE.

Encoder and decoder are stacks of one-dimensional convolutions, residual units of dilation 1, 3, 9 and the periodic
activation x + sin(a x)^2 / a ("snake"), as in Kumar et al., High-Fidelity Audio Compression with Improved RVQGAN
(2023), section 3.1 and its configuration tables. Between them lies a Gaussian of diagonal covariance (the released,
continuous codec) or a residual vector quantizer (section 3.2).

Axes: B batch, C channels, S samples, L latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, prod

import torch
from torch import Tensor, nn

DILATIONS = (1, 3, 9)
KERNEL = 7
SMALLEST_ALPHA = 1e-9
LOG_VARIANCE_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class DacConfig:
    """Shape of a codec; names as in the released config.json.

    encoder_dim, decoder_dim : channels at the waveform's end of the encoder (they double with every rate) and at the
        latents' end of the decoder (they halve). encoder_rates, decoder_rates : strides; each product is the hop.
    latent_dim : channels of a latent. n_codebooks, codebook_size, codebook_dim : of the quantizer, where `continuous`
        is false; a width for each codebook or one for all.
    """

    encoder_dim: int
    encoder_rates: tuple[int, ...]
    latent_dim: int
    decoder_dim: int
    decoder_rates: tuple[int, ...]
    sample_rate: int
    continuous: bool
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int | tuple[int, ...] = 8

    @property
    def hop(self) -> int:
        return prod(self.encoder_rates)


class Dac(nn.Module):
    """The whole codec. Waveforms are [B, 1, L * hop], what is coded is [B, latent_dim, L]."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        width = config.latent_dim
        self.config = config
        self.encoder = Encoder(config.encoder_dim, config.encoder_rates, width)
        if config.continuous:
            self.quant_conv = nn.Conv1d(width, 2 * width, 1)
            self.post_quant_conv = nn.Conv1d(width, width, 1)
        else:
            self.quantizer = ResidualQuantizer(config)
        self.decoder = Decoder(width, config.decoder_dim, config.decoder_rates)

    def posterior(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, latent_dim, L] of a continuous codec."""
        mean, log_variance = self.quant_conv(self.encoder(waveform)).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def encode(self, waveform: Tensor) -> Tensor:
        """What a model learns from: the posterior's mean, or the sum of the chosen code vectors."""
        if self.config.continuous:
            return self.posterior(waveform)[0]
        quantized: Tensor = self.quantizer(self.encoder(waveform))[0]
        return quantized

    def decode(self, latents: Tensor) -> Tensor:
        """Waveforms in [-1, 1]."""
        waveform: Tensor = self.decoder(self.post_quant_conv(latents) if self.config.continuous else latents)
        return waveform


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, with one alpha a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().square() / (self.alpha + SMALLEST_ALPHA)


class ResidualUnit(nn.Module):
    """[B, C, S] -> [B, C, S]."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        padding = (KERNEL - 1) * dilation // 2
        self.block = nn.Sequential(
            Snake(channels),
            nn.Conv1d(channels, channels, KERNEL, dilation=dilation, padding=padding),
            Snake(channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.block(x)
        return x + residual


class EncoderBlock(nn.Module):
    """[B, C, S] -> [B, 2C, S / stride]."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(channels, dilation) for dilation in DILATIONS),
            Snake(channels),
            nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=ceil(stride / 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class DecoderBlock(nn.Module):
    """[B, 2C, S] -> [B, C, S * stride]."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(2 * channels),
            nn.ConvTranspose1d(
                2 * channels,
                channels,
                2 * stride,
                stride=stride,
                padding=ceil(stride / 2),
                output_padding=stride % 2,  # without it an odd stride loses a sample
            ),
            *(ResidualUnit(channels, dilation) for dilation in DILATIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class Encoder(nn.Module):
    """[B, 1, L * hop] -> [B, latent_dim, L]."""

    def __init__(self, channels: int, rates: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        last = channels * 2 ** len(rates)
        self.block = nn.Sequential(
            nn.Conv1d(1, channels, KERNEL, padding=KERNEL // 2),
            *(EncoderBlock(channels * 2**level, stride) for level, stride in enumerate(rates)),
            Snake(last),
            nn.Conv1d(last, latent_dim, 3, padding=1),
        )

    def forward(self, waveform: Tensor) -> Tensor:
        latents: Tensor = self.block(waveform)
        return latents


class Decoder(nn.Module):
    """[B, latent_dim, L] -> [B, 1, L * hop] in [-1, 1]."""

    def __init__(self, latent_dim: int, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        last = channels // 2 ** len(rates)
        self.model = nn.Sequential(
            nn.Conv1d(latent_dim, channels, KERNEL, padding=KERNEL // 2),
            *(DecoderBlock(channels // 2**level, stride) for level, stride in enumerate(rates, start=1)),
            Snake(last),
            nn.Conv1d(last, 1, KERNEL, padding=KERNEL // 2),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        waveform: Tensor = self.model(latents)
        return waveform


class VectorQuantizer(nn.Module):
    """One codebook, searched in a narrow projection by the angle between vectors."""

    def __init__(self, width: int, size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(width, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, width, 1)
        self.codebook = nn.Embedding(size, codebook_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, L] -> its nearest code vector [B, C, L] and that one's number [B, L]."""
        directions = nn.functional.normalize(self.in_proj(x), dim=1)
        likeness = torch.einsum("bdl,nd->bln", directions, nn.functional.normalize(self.codebook.weight, dim=1))
        codes = likeness.argmax(-1)
        return self.out_proj(self.codebook(codes).transpose(1, 2)), codes


class ResidualQuantizer(nn.Module):
    """Codebooks in turn, each on what the ones before it left."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        dims = config.codebook_dim
        per_codebook = (dims,) * config.n_codebooks if isinstance(dims, int) else dims
        self.quantizers = nn.ModuleList(
            VectorQuantizer(config.latent_dim, config.codebook_size, dim) for dim in per_codebook
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, L] -> the sum of code vectors [B, C, L], and codes [B, codebooks, L]."""
        quantized, codes = torch.zeros_like(x), []
        for quantizer in self.quantizers:
            part, chosen = quantizer(x - quantized)
            quantized = quantized + part
            codes.append(chosen)
        return quantized, torch.stack(codes, dim=1)


def reach_in_latents(stack: Encoder | Decoder, hop: int) -> int:
    """How many latents to either side of a latent have to do with it: with its code, or with its samples.

    Follows the convolutions from output to input, first and last position each (a residual unit's shortcut reaches
    less far than its convolutions).
    """
    decodes = isinstance(stack, Decoder)
    first, last = (0, hop - 1) if decodes else (0, 0)
    layers = [layer for layer in stack.modules() if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))]
    for layer in reversed(layers):
        (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
        padding = int(layer.padding[0])
        if isinstance(layer, nn.ConvTranspose1d):
            first = ceil((first + padding - kernel + 1) / stride)
            last = floor((last + padding) / stride)
        else:
            first = first * stride - padding
            last = last * stride - padding + (kernel - 1) * dilation
    unit = 1 if decodes else hop
    return max(ceil(-first / unit), ceil((last - unit + 1) / unit))
