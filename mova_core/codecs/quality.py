"""What the codecs lose, measured on held-out clips: the ceiling of everything a model can generate."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mova_core.codecs.arrays import (
    ClipArrays,
    ClipLatents,
    decode_clip_latents,
    encode_clip_arrays,
)
from mova_core.codecs.base import Codecs
from mova_core.codecs.reading import DecodedClip, Resolution
from mova_core.data.shards import STORED_DTYPE

ENVELOPE_SECONDS = 0.0005
RISE_SECONDS = 0.02
MIN_RISE_DECIBELS = 12.0
SEARCH_SECONDS = 0.04
FLOOR_DECIBELS = -60.0


@dataclass
class Quality:
    """Running sums over clips; `metrics` gives the figures.

    PSNR and SNR pool the errors of all clips before the logarithm is taken, so a bad clip weighs what it should.
    """

    squared_pixel_error: dict[Resolution, list[float]] = field(default_factory=dict)
    sound_power: list[float] = field(default_factory=list)
    sound_error_power: list[float] = field(default_factory=list)
    onset_errors_seconds: list[float] = field(default_factory=list)
    video_square: list[float] = field(default_factory=list)
    audio_square: list[float] = field(default_factory=list)

    def add(self, codecs: Codecs, clip: DecodedClip, device: torch.device | str = "cpu") -> None:
        """Sends a clip through the codecs (on `device`), its latents rounded as the shards round them."""
        for resolution, frames in clip.frames.items():
            latents, decoded = stored_round_trip(codecs, frames, clip.waveform, resolution, device)
            error = frames.astype(np.float32) - decoded.frames[0]
            self.squared_pixel_error.setdefault(resolution, []).append(float(np.mean(error**2)))
            self.video_square.append(latents.video.float().square().mean().item())
        self.audio_square.append(latents.audio.float().square().mean().item())
        sound = decoded.waveforms[0]
        self.sound_power.append(float(np.mean(clip.waveform**2)))
        self.sound_error_power.append(float(np.mean((clip.waveform - sound) ** 2)))
        shift = onset_shift_seconds(clip.waveform, sound, codecs.audio.sample_rate_hz)
        if shift is not None:
            self.onset_errors_seconds.append(abs(shift))

    def metrics(self) -> dict[str, float]:
        """The figures by name: dB, milliseconds, and the standard deviation of latents."""
        figures = {
            f"psnr_db_{height}x{width}": decibels(255.0**2, float(np.mean(errors)))
            for (height, width), errors in sorted(self.squared_pixel_error.items())
        }
        figures["audio_snr_db"] = decibels(float(np.mean(self.sound_power)), float(np.mean(self.sound_error_power)))
        if self.onset_errors_seconds:
            figures["onset_error_ms_median"] = 1000 * float(np.median(self.onset_errors_seconds))
            figures["onset_error_ms_p90"] = 1000 * float(np.quantile(self.onset_errors_seconds, 0.9))
            figures["onset_clips"] = len(self.onset_errors_seconds)
        figures["video_latent_std"] = float(np.sqrt(np.mean(self.video_square)))
        figures["audio_latent_std"] = float(np.sqrt(np.mean(self.audio_square)))
        return figures


def stored_round_trip(
    codecs: Codecs,
    frames: NDArray[np.uint8],
    waveform: NDArray[np.float32],
    resolution: Resolution,
    device: torch.device | str = "cpu",
) -> tuple[ClipLatents, ClipArrays]:
    """One clip's latents as the shards hold them, and what they decode to; frames [T, h, w, 3], waveform [S]."""
    latents = encode_clip_arrays(codecs, frames[None], waveform[None], resolution, device)
    stored = ClipLatents(*(tensor.to(STORED_DTYPE).float() for tensor in latents))
    return stored, decode_clip_latents(codecs, stored, waveform.size)


def decibels(signal: float, noise: float) -> float:
    """10 log10 of a ratio of powers; a noise of zero counts as the smallest float there is."""
    return float(10 * np.log10(max(signal, np.finfo(float).tiny) / max(noise, np.finfo(float).tiny)))


def onset_shift_seconds(
    original: NDArray[np.float32], decoded: NDArray[np.float32], sample_rate_hz: int
) -> float | None:
    """How much later the sharpest rise of `original` comes in `decoded`; None if the original has no sharp rise.

    The rise at an instant is the level of the 20 ms after it over that of the 20 ms before it, in decibels; a sharp one
    is at least 12. The decoded sound is searched 40 ms to either side.
    """
    rises = _rises(original, sample_rate_hz)
    if rises.size == 0 or rises.max() < MIN_RISE_DECIBELS:
        return None
    instant = int(rises.argmax())
    reach = round(SEARCH_SECONDS / ENVELOPE_SECONDS)
    first = max(0, instant - reach)
    found = first + int(_rises(decoded, sample_rate_hz)[first : instant + reach + 1].argmax())
    return (found - instant) * ENVELOPE_SECONDS


def _rises(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Level after over level before, in decibels, at the envelope's instants; empty for a sound too short."""
    step = round(ENVELOPE_SECONDS * sample_rate_hz)
    around = round(RISE_SECONDS / ENVELOPE_SECONDS)
    power = np.square(waveform[: waveform.size // step * step], dtype=np.float64).reshape(-1, step).mean(axis=1)
    if power.size < 2 * around or power.max() == 0:
        return np.empty(0)
    total = np.concatenate([[0.0], np.cumsum(power)])
    level = (total[around:] - total[:-around]) / around
    floor = power.max() * 10 ** (FLOOR_DECIBELS / 10)
    loud = 10 * np.log10(np.maximum(level, floor))
    rises: NDArray[np.float64] = loud[around:] - loud[:-around]
    return rises
