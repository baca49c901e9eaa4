"""Streaming decode: pictures with exact presentation times, sound aligned to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from mova_core.data.media.opening import MediaError, audio_stream, clock_origin, opened, video_origin, video_stream

Pixels = NDArray[np.uint8]
Waveform = NDArray[np.float32]

# Without these flags the conversion loses one level of brightness on average, and differs between processors.
EXACT_CONVERSION = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
# Decoders that predict from the past (AAC overlaps two blocks) are right only some packets after a seek.
PREROLL_SECONDS = 0.25
# Audio timestamps within this of where the samples so far end are container rounding; beyond it there is a real gap.
GAP_SECONDS = 0.010


@dataclass(frozen=True)
class TimedFrame:
    """One picture and when it is shown.

    Attributes
    ----------
    seconds : presentation time; 0 is the first frame of the file.
    pixels : ``[height, width, 3]`` uint8 RGB, upright, square pixels.
    """

    seconds: float
    pixels: Pixels


def iter_frames(
    path: Path,
    start_seconds: float = 0.0,
    end_seconds: float = math.inf,
    *,
    size: tuple[int, int] | None = None,
) -> Iterator[TimedFrame]:
    """Yields the frames shown in ``[start_seconds, end_seconds)`` in order of presentation, decoding as it goes.

    A seek to the key frame before the start makes a late window cheap. Variable frame rates keep their own times.

    Parameters
    ----------
    size : (height, width) to scale the upright picture to while decoding; by default its own.

    Raises
    ------
    MediaError : as `probe`; ``corrupt`` where decoding stops part way.
    """
    with opened(path) as container:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1  # callers run one process a core
        convert = VideoReformatter()
        origin = video_origin(stream)
        if start_seconds > 0:
            container.seek(math.floor((Fraction(start_seconds) + origin) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            seconds = float(frame.pts * frame.time_base - origin)
            if seconds >= end_seconds:
                return
            if seconds >= start_seconds:
                yield TimedFrame(seconds, _upright(convert, frame, stream, size))


def frames_on_grid(
    frames: Iterable[TimedFrame], fps: float, start_seconds: float = 0.0, num_frames: int | None = None
) -> Iterator[Pixels]:
    """Yields, for each instant ``start_seconds + k / fps``, the frame shown nearest to it.

    The nearest frame has no delay on average; the frame on display would lag by half a source frame. Instants from half
    a source frame before the first to half a grid step after the last frame are covered; with `num_frames`, iteration
    ends after that many, or earlier if the frames end.
    """
    grid = 0
    shown: TimedFrame | None = None
    for frame in itertools.chain(frames, [None]):
        if shown is not None:
            until = shown.seconds + 0.5 / fps if frame is None else (shown.seconds + frame.seconds) / 2
            while grid != num_frames and start_seconds + grid / fps < until:
                yield shown.pixels
                grid += 1
        if grid == num_frames:
            return
        shown = frame


def read_audio(
    path: Path, sample_rate_hz: int, start_seconds: float = 0.0, duration_seconds: float | None = None
) -> Waveform:
    """The sound from `start_seconds` on the video's clock, all channels averaged, at `sample_rate_hz`.

    A file without pictures has the clock of its sound. Sample ``i`` lies at ``start_seconds + i / sample_rate_hz`` (the
    start is rounded to a sample). Where the stream has no sound (before it starts, in gaps, after it ends) samples are
    zero.

    Parameters
    ----------
    duration_seconds : exactly ``round(duration_seconds * sample_rate_hz)`` samples come back; by default all up to the
        end of the stream.

    Raises
    ------
    MediaError : ``no_audio`` if there is no sound; otherwise as `probe`.
    """
    with opened(path) as container:
        stream = audio_stream(container)
        origin = clock_origin(container, stream)
        native_rate = int(stream.codec_context.sample_rate)
        first = round(start_seconds * sample_rate_hz)
        count = None if duration_seconds is None else round(duration_seconds * sample_rate_hz)
        # Native samples from `native_first` on, where native and wanted sample instants coincide.
        common = math.gcd(native_rate, sample_rate_hz)
        native_step, wanted_step = native_rate // common, sample_rate_hz // common
        blocks_before = 0 if native_rate == sample_rate_hz else math.ceil(0.05 * common)
        block = first // wanted_step - blocks_before
        native_first, offset = block * native_step, first - block * wanted_step
        native_count = None
        if count is not None:
            native_count = math.ceil((offset + count) * native_step / wanted_step) + blocks_before * native_step
        native = _native_samples(container, stream, origin, native_first, native_count)
    if native_rate != sample_rate_hz:
        from scipy.signal import resample_poly

        native = resample_poly(native, wanted_step, native_step).astype(np.float32)
    wanted = native[offset:] if count is None else native[offset : offset + count]
    if count is not None and wanted.size < count:
        wanted = np.pad(wanted, (0, count - wanted.size))
    return np.ascontiguousarray(np.clip(wanted, -1.0, 1.0), dtype=np.float32)


def turned_counterclockwise(frame: Any) -> int:
    """How far to turn the stored picture counterclockwise, to the nearest quarter: 0, 90, 180 or 270 degrees."""
    return int(round(frame.rotation / 90) % 4 * 90)


def square_pixel_size(frame: Any, stream: Any) -> tuple[int, int]:
    """(width, height) of the stored picture once its pixels are made square."""
    aspect = stream.sample_aspect_ratio
    if not aspect or aspect == 1:
        return frame.width, frame.height
    return max(2, round(frame.width * aspect)), frame.height


def _upright(convert: Any, frame: Any, stream: Any, size: tuple[int, int] | None) -> Pixels:
    turns = turned_counterclockwise(frame) // 90
    width, height = square_pixel_size(frame, stream)
    if size is not None:
        width, height = (size[0], size[1]) if turns % 2 else (size[1], size[0])
    shrinks = width < frame.width or height < frame.height
    rgb = convert.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        interpolation=(Interpolation.AREA if shrinks else Interpolation.BICUBIC) | EXACT_CONVERSION,
        threads=1,
    )
    pixels: Pixels = rgb.to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _native_samples(container: Any, stream: Any, origin: Fraction, first: int, count: int | None) -> Waveform:
    """Mono samples at the stream's own rate from index `first` of the video's clock, zeros where there are none."""
    rate = int(stream.codec_context.sample_rate)
    end = math.inf if count is None else first + count
    # The stream's own length cuts off what the last packet holds beyond it (AAC packets are 1024 samples).
    if stream.duration is not None and stream.start_time is not None:
        end_of_stream = (stream.start_time + stream.duration) * stream.time_base - origin
        end = min(end, round(end_of_stream * rate))
    if first > 0:
        target = (Fraction(first, rate) - Fraction(PREROLL_SECONDS) + origin) / stream.time_base
        container.seek(max(math.floor(target), 0), stream=stream)
    pieces: list[tuple[int, Waveform]] = []
    expected: int | None = None
    for samples, seconds in _mono_frames(container, stream):
        index = round((seconds - origin) * rate)
        if expected is not None and abs(index - expected) <= GAP_SECONDS * rate:
            index = expected
        expected = index + samples.size
        if index >= end:
            break
        pieces.append((index, samples))
    last = max((index + samples.size for index, samples in pieces), default=first)
    length = count if count is not None else max(int(min(end, last)) - first, 0)
    result = np.zeros(length, np.float32)
    for index, samples in pieces:
        low, high = max(index, first), int(min(index + samples.size, end))
        if low < high:
            result[low - first : high - first] = samples[low - index : high - index]
    return result


def _mono_frames(container: Any, stream: Any) -> Iterator[tuple[Waveform, Fraction]]:
    """Decoded blocks as float mono, each with its presentation time on the container's clock."""
    to_float = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        if frame.sample_rate != stream.codec_context.sample_rate:
            raise MediaError("corrupt", f"the sample rate changes to {frame.sample_rate} Hz within the file")
        seconds = frame.pts * frame.time_base
        if frame.format.name != "fltp":
            try:
                (frame,) = to_float.resample(frame)
            except ValueError as error:
                raise MediaError("corrupt", f"the sound changes its form within the file ({error})") from error
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32), seconds
