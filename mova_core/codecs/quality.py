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

STEP_SECONDS = 0.0005
LEVEL_SECONDS = 0.002
RISE_SECONDS = 0.02
MIN_RISE_DECIBELS = 12.0
SEARCH_SECONDS = 0.05
FLOOR_SHARE = 1e-4  # 40 dB below the loudest instant; rises in what is fainter are none
ATTACK_SHARE = 0.1  # 10 dB below the loudest instant


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
    """How much later the most sudden attack of `original` comes in `decoded`; None if the original has none.

    Around the sharpest rise of `original` (20 ms after an instant against 20 ms before it, at least 12 dB), an attack
    happens when the level of 2 ms first comes within 10 dB of the highest there.
    """
    level = _level(original, sample_rate_hz)
    rise = _sharpest_rise(level)
    if rise is None:
        return None
    reach = round(SEARCH_SECONDS / STEP_SECONDS)
    around = slice(max(0, rise - reach), rise + reach)
    return (_attack(_level(decoded, sample_rate_hz)[around]) - _attack(level[around])) * STEP_SECONDS


def _level(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Mean power of the 2 ms around every instant, one value a `STEP_SECONDS`."""
    step = round(STEP_SECONDS * sample_rate_hz)
    power = np.square(waveform[: waveform.size // step * step], dtype=np.float64).reshape(-1, step).mean(axis=1)
    width = round(LEVEL_SECONDS / STEP_SECONDS)
    level: NDArray[np.float64] = np.convolve(power, np.ones(width) / width, "same")
    return level


def _sharpest_rise(level: NDArray[np.float64]) -> int | None:
    """The instant whose next 20 ms are loudest against the 20 ms before; None where that is under 12 dB."""
    around = round(RISE_SECONDS / STEP_SECONDS)
    if level.size <= 2 * around or level.max() == 0:
        return None
    total = np.concatenate([[0.0], np.cumsum(level)])
    mean = np.maximum(total[around:] - total[:-around], 0) / around + level.max() * FLOOR_SHARE
    rises = 10 * np.log10(mean[around:] / mean[:-around])
    return around + int(rises.argmax()) if rises.max() >= MIN_RISE_DECIBELS else None


def _attack(level: NDArray[np.float64]) -> int:
    return int((level >= ATTACK_SHARE * level.max()).argmax())
