"""Clips: short files that come back with exactly the frames and samples that went in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.data.media.opening import MediaError, audio_stream, opened
from mova_core.data.media.reading import iter_frames, read_audio
from mova_core.data.media.writing import AudioCodec, MediaWriter
from mova_core.files import written_aside


def write_clip(
    path: Path,
    frames: NDArray[np.uint8],
    waveform: NDArray[np.float32],
    fps: float,
    sample_rate_hz: int,
    *,
    audio_codec: AudioCodec = "flac",
    constant_rate_factor: int = 14,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Writes frames and sound that start together as an mp4 that browsers play, whole or not at all.

    Parameters
    ----------
    frames : ``[T, H, W, 3]`` uint8 RGB with even H and W.
    waveform : ``[S]`` float32 mono in [-1, 1].
    audio_codec : ``flac`` keeps the samples to 16 bits; ``aac`` plays in every player, and its start delay is
        declared in the file, so that sample 0 still sounds with frame 0.
    tags : see `MediaWriter`.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames have the shape {frames.shape}, expected [T, H, W, 3] with T > 0")
    if waveform.ndim != 1:
        raise ValueError(f"the waveform has the shape {waveform.shape}, expected [S]")
    with (
        written_aside(path) as aside,
        MediaWriter(
            aside,
            width=frames.shape[2],
            height=frames.shape[1],
            fps=fps,
            sample_rate_hz=sample_rate_hz,
            audio_codec=audio_codec,
            constant_rate_factor=constant_rate_factor,
            tags=tags,
        ) as writer,
    ):
        writer.write_frames(frames)
        writer.write_audio(waveform)


def read_clip(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """All frames ``[T, H, W, 3]`` and all samples ``[S]`` of a clip, at its own rates, exactly as many as were written.

    Raises
    ------
    MediaError : if the clip lacks frames or sound, or does not decode.
    """
    frames = [frame.pixels for frame in iter_frames(path)]
    if not frames:
        raise MediaError("zero_length", "the video stream shows no frame")
    with opened(path) as container:
        rate = int(audio_stream(container).codec_context.sample_rate)
    return np.stack(frames), read_audio(path, rate)
