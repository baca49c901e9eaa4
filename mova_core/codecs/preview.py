"""A picture of what the codecs keep: frames and spectrograms of a few clips, original above decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.files import write_bytes

Picture = NDArray[np.uint8]

NUM_FRAMES = 9
FRAME_HEIGHT = 96
GAP = 6
WHITE = 255
SPECTRUM_SAMPLES = 1024
SPECTRUM_HOP = 256
SPECTROGRAM_HEIGHT = 128
HIGHEST_HZ = 8000.0
DECIBELS_SHOWN = 80.0


def write_preview(
    path: Path,
    clips: Sequence[tuple[Sequence[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]],
    sample_rate_hz: int,
) -> None:
    """Writes a PNG. A clip is its pictures (each uint8 [T, h, w, 3]: the original, then decoded ones) and its sounds
    (each float32 [S]: the original, then the decoded one); each takes one row.
    """
    import cv2

    rows: list[Picture] = []
    for pictures, sounds in clips:
        strips = [_strip(frames) for frames in pictures]
        width = max(strip.shape[1] for strip in strips)
        loudest = max(float(np.abs(sounds[0]).max()), 1e-6)
        rows += strips + [_spectrogram(sound / loudest, sample_rate_hz, width) for sound in sounds]
    width = max(row.shape[1] for row in rows)
    gap = np.full((GAP, width, 3), WHITE, dtype=np.uint8)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=WHITE) for row in rows]
    sheet = np.concatenate([part for row in padded for part in (row, gap)][:-1])
    encoded = cv2.imencode(".png", sheet[..., ::-1])[1]
    write_bytes(path, encoded.tobytes())


def _strip(frames: NDArray[np.uint8]) -> Picture:
    """Evenly spaced frames side by side, pixels kept as squares."""
    import cv2

    chosen = frames[np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int)]
    size = (round(frames.shape[2] * FRAME_HEIGHT / frames.shape[1]), FRAME_HEIGHT)
    return np.concatenate(
        [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST), np.uint8) for frame in chosen], axis=1
    )


def _spectrogram(waveform: NDArray[np.float32], sample_rate_hz: int, width: int) -> Picture:
    """Levels in decibels over time (left to right) and frequency (up to 8 kHz, upwards)."""
    import cv2

    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, SPECTRUM_SAMPLES // 2), SPECTRUM_SAMPLES)
    power = np.abs(np.fft.rfft(frames[::SPECTRUM_HOP] * np.hanning(SPECTRUM_SAMPLES), axis=1)) ** 2
    power = power[:, : round(HIGHEST_HZ / sample_rate_hz * SPECTRUM_SAMPLES)]
    full_scale = (SPECTRUM_SAMPLES / 4) ** 2
    level = 10 * np.log10(np.maximum(power / full_scale, 1e-12))
    grey = np.clip((level / DECIBELS_SHOWN + 1) * 255, 0, 255).astype(np.uint8).T[::-1]
    scaled = cv2.resize(np.ascontiguousarray(grey), (width, SPECTROGRAM_HEIGHT), interpolation=cv2.INTER_AREA)
    coloured: Picture = np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_MAGMA), np.uint8)[..., ::-1]
    return coloured
