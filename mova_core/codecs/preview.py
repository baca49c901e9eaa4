"""A picture of what the codecs keep: frames and spectrograms of a few clips, original above decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.files import write_bytes

Picture = NDArray[np.uint8]

NUM_FRAMES = 9
FRAME_HEIGHT = 64
MARGIN_WIDTH = 90
GAP = 4
WHITE = 255
SPECTRUM_SAMPLES = 1024
SPECTRUM_HOP = 256
SPECTROGRAM_HEIGHT = 64
HIGHEST_HZ = 8000.0
DECIBELS_SHOWN = 70.0


@dataclass(frozen=True)
class ShownClip:
    """A clip before and after.

    Attributes
    ----------
    label : what it shows.
    pictures : by name, the original first: frames uint8 [T, h, w, 3], all of one aspect.
    sounds : by name, the original first: waveforms float32 [S].
    """

    label: str
    pictures: dict[str, NDArray[np.uint8]]
    sounds: dict[str, NDArray[np.float32]]


def write_preview(path: Path, clips: Sequence[ShownClip], sample_rate_hz: int) -> None:
    """Writes a PNG: for each clip a strip of every version's frames, then a spectrogram of every version's sound."""
    import cv2

    rows = [row for clip in clips for row in _rows(clip, sample_rate_hz)]
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([_padded(row, width) for row in rows])
    encoded = cv2.imencode(".png", sheet[..., ::-1])[1]
    write_bytes(path, encoded.tobytes())


def _rows(clip: ShownClip, sample_rate_hz: int) -> list[Picture]:
    strips = {name: _strip(frames) for name, frames in clip.pictures.items()}
    width = next(iter(strips.values())).shape[1]
    loudest = max(float(np.abs(next(iter(clip.sounds.values()))).max()), 1e-6)
    spectra = {name: _spectrogram(sound / loudest, sample_rate_hz, width) for name, sound in clip.sounds.items()}
    return [
        np.concatenate([_margin(clip.label, name, picture.shape[0]), picture], axis=1)
        for pictures in (strips, spectra)
        for name, picture in pictures.items()
    ]


def _margin(label: str, name: str, height: int) -> Picture:
    """What the row shows, in words on white."""
    import cv2

    margin = np.full((height, MARGIN_WIDTH, 3), WHITE, dtype=np.uint8)
    for line, text in enumerate((label, name)):
        cv2.putText(margin, text, (6, 20 + 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return margin


def _padded(row: Picture, width: int) -> Picture:
    return np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=WHITE)


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
