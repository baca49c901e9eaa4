"""What a file holds, from its packets and the first picture: no full decode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mova_core.data.media.opening import MediaError, audio_stream, opened, video_stream

# Frame intervals of one file may differ by this share of their median before its rate counts as variable: containers
# with millisecond clocks round 41.7 ms to 41 or 42.
RATE_TOLERANCE = 0.10
# An AVI's header counts the frames that are left out, too: the one before is shown for longer.
COUNTS_WHAT_IS_LEFT_OUT = "avi"


@dataclass(frozen=True)
class MediaProbe:
    """A file's streams.

    Attributes
    ----------
    duration_seconds : from the first frame shown to the end of the last one.
    width, height : upright, with square pixels.
    rotation_degrees : how far the stored picture is turned counterclockwise to stand upright; 0, 90, 180 or 270.
    fps : mean rate.
    num_frames : frames shown.
    audio_codec : empty where there is no sound; then the rate and the channels are 0.
    """

    duration_seconds: float
    width: int
    height: int
    rotation_degrees: int
    fps: float
    is_variable_frame_rate: bool
    num_frames: int
    video_codec: str
    audio_codec: str
    sample_rate_hz: int
    num_audio_channels: int


def probe(path: Path) -> MediaProbe:
    """Reads the packet times of the video and decodes one frame of either stream.

    Raises
    ------
    MediaError : ``empty_file``, ``unreadable``, ``no_video``, ``zero_length`` (no frame is shown), ``truncated``
        (fewer packets than the index lists) or ``corrupt``. A file without sound is not an error here.
    """
    with opened(path) as container:
        stream = video_stream(container)
        times, ends, listed, found = _packet_times(container, stream)
        if not times.size:
            raise MediaError("zero_length", "the video stream shows no frame")
        if found < listed and not _shown_for_longer(container, stream, times, ends):
            raise MediaError("truncated", f"{found} of {listed} video packets are there")
        audio = _first_audio(path)
        first = _first_picture(path)
    duration = float(ends.max() - times.min())
    return MediaProbe(
        duration_seconds=round(duration, 6),
        width=first.width,
        height=first.height,
        rotation_degrees=first.rotation_degrees,
        fps=round(times.size / duration, 6),
        is_variable_frame_rate=_is_variable(times, float(stream.time_base)),
        num_frames=int(times.size),
        video_codec=stream.codec_context.name,
        **audio,
    )


def read_tags(path: Path) -> dict[str, str]:
    """The container's tags, as `write_clip` took them, and what the muxer adds of its own.

    Raises
    ------
    MediaError : as `probe`, for a file that does not open.
    """
    with opened(path) as container:
        return dict(container.metadata)


@dataclass(frozen=True)
class _Picture:
    width: int
    height: int
    rotation_degrees: int


def _packet_times(container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Start and end of every shown frame in seconds, the number of packets listed by the index, and found."""
    base = float(stream.time_base)
    nominal = 1 / float(stream.guessed_rate) if stream.guessed_rate else 0.0
    starts, ends, found = [], [], 0
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        found += 1
        if packet.is_discard:
            continue
        starts.append(packet.pts * base)
        ends.append(packet.pts * base + (packet.duration * base if packet.duration else nominal))
    order = np.argsort(starts, kind="stable")
    return np.asarray(starts)[order], np.asarray(ends)[order], stream.frames, found


def _shown_for_longer(container: Any, stream: Any, times: np.ndarray, ends: np.ndarray) -> bool:
    """Whether the frames that are there reach to the end that the header's count of frames promises."""
    if COUNTS_WHAT_IS_LEFT_OUT not in container.format.name or not stream.guessed_rate:
        return False
    frame = 1 / float(stream.guessed_rate)
    promised = float(stream.frames - 2) * frame * (1 - RATE_TOLERANCE)
    return float(ends.max() - times.min()) >= promised


def _is_variable(times: np.ndarray, time_base: float) -> bool:
    if times.size < 3:
        return False
    steps = np.diff(times)
    tolerance = max(RATE_TOLERANCE * float(np.median(steps)), 2 * time_base)
    return float(np.ptp(steps)) > tolerance


def _first_picture(path: Path) -> _Picture:
    from mova_core.data.media.reading import square_pixel_size, turned_counterclockwise

    with opened(path) as container:
        for frame in container.decode(video_stream(container)):
            rotation = turned_counterclockwise(frame)
            width, height = square_pixel_size(frame, video_stream(container))
            if rotation % 180:
                width, height = height, width
            return _Picture(width, height, rotation)
    raise MediaError("corrupt", "no picture decodes")


def _first_audio(path: Path) -> dict[str, Any]:
    with opened(path) as container:
        try:
            stream = audio_stream(container)
        except MediaError:
            return {"audio_codec": "", "sample_rate_hz": 0, "num_audio_channels": 0}
        for frame in container.decode(stream):
            return {
                "audio_codec": stream.codec_context.name,
                "sample_rate_hz": frame.sample_rate,
                "num_audio_channels": frame.layout.nb_channels,
            }
    return {"audio_codec": "", "sample_rate_hz": 0, "num_audio_channels": 0}
