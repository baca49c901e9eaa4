"""Encoding to mp4: H.264 with FLAC (lossless, in browsers since 2017) or AAC, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from mova_core.data.media.opening import local_url
from mova_core.data.media.reading import EXACT_CONVERSION

AudioCodec = Literal["flac", "aac"]

# Rates written with three decimals that stand for n * 1000 / 1001.
NTSC_RATES = (24, 30, 48, 60, 120)
VARIABLE_TIME_BASE = Fraction(1, 90_000)
FULL_SCALE_16_BIT = 32768
# The fast coder takes half the time of the default one; at this rate it keeps the demo corpus at 39 dB.
AUDIO_OPTIONS: dict[AudioCodec, dict[str, str]] = {"flac": {}, "aac": {"aac_coder": "fast"}}
AAC_BITS_PER_SECOND = 160_000


class MediaWriter:
    """Writes one mp4, pictures and sound in pieces. Use it as a context manager.

    Parameters
    ----------
    path : where to write; whole only after a clean exit (write aside and rename where that matters).
    width, height : even numbers of pixels.
    fps : frames a second; with `variable_rate` only a hint, and `write_frames` takes the times.
    sample_rate_hz : of the sound; None for a file without sound.
    audio_codec : ``flac`` (16 bits) or ``aac``.
    constant_rate_factor : of x264; 0 is lossless, 18 hard to tell from it, 23 ordinary.
    rotation_degrees : counterclockwise turn that players are told to show the picture with.
    tags : of the container, such as ``title`` and ``comment``.

    The encoders run in one thread and the container carries no date, so equal input gives equal bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: float,
        sample_rate_hz: int | None,
        audio_codec: AudioCodec = "aac",
        constant_rate_factor: int = 18,
        variable_rate: bool = False,
        rotation_degrees: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"the picture is {width}x{height}, expected even numbers (4:2:0 colour)")
        rate = exact_rate(fps)
        # The container states the sound's length on its own clock, in milliseconds unless told otherwise: samples
        # would be lost to rounding.
        clock = str(sample_rate_hz or VARIABLE_TIME_BASE.denominator)
        options = {"movflags": "+faststart", "movie_timescale": clock}
        self._container: Any = av.open(local_url(path), "w", format="mp4", options=options)
        self._container.metadata.update(tags or {})
        self._video = self._add_video(rate, width, height, constant_rate_factor)
        self._time_base = VARIABLE_TIME_BASE if variable_rate else 1 / rate
        self._video.codec_context.time_base = self._time_base
        if rotation_degrees:
            self._video.set_display_rotation(rotation_degrees)
        self._convert = VideoReformatter()
        self._variable_rate = variable_rate
        self._frames_written = 0
        self._samples_written = 0
        self._sample_rate_hz = sample_rate_hz
        self._audio: Any = None
        if sample_rate_hz is not None:
            self._audio = self._container.add_stream(
                audio_codec, rate=sample_rate_hz, layout="mono", options=AUDIO_OPTIONS[audio_codec]
            )
            if audio_codec == "aac":
                self._audio.codec_context.bit_rate = AAC_BITS_PER_SECOND

    def _add_video(self, rate: Fraction, width: int, height: int, constant_rate_factor: int) -> Any:
        options = {"preset": "ultrafast", "crf": str(constant_rate_factor), "threads": "1"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # Say which matrix the colours were converted with; players guess otherwise, and differently by size.
        stream.codec_context.colorspace = Colorspace.SMPTE170M
        stream.codec_context.color_range = ColorRange.MPEG
        return stream

    def write_frames(self, frames: NDArray[np.uint8], seconds: Sequence[float] | None = None) -> None:
        """Appends ``[T, H, W, 3]`` RGB frames; `seconds` are their presentation times in a variable-rate file."""
        if self._variable_rate != (seconds is not None):
            raise ValueError("presentation times are given exactly when the writer's rate is variable")
        for index, pixels in enumerate(frames):
            frame = self._convert.reformat(
                av.VideoFrame.from_ndarray(pixels, format="rgb24"),
                format="yuv420p",
                interpolation=Interpolation.AREA | EXACT_CONVERSION,
                threads=1,
            )
            frame.time_base = self._time_base
            if seconds is None:
                frame.pts = self._frames_written
            else:
                frame.pts = round(seconds[index] / self._time_base)
            self._container.mux(self._video.encode(frame))
            self._frames_written += 1

    def write_audio(self, waveform: NDArray[np.float32]) -> None:
        """Appends mono samples in [-1, 1]; what lies beyond is clipped."""
        if self._sample_rate_hz is None:
            raise ValueError("this file was opened without sound")
        if not waveform.size:
            return
        steps = np.rint(np.asarray(waveform, np.float32) * FULL_SCALE_16_BIT)
        samples = np.clip(steps, -FULL_SCALE_16_BIT, FULL_SCALE_16_BIT - 1).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = self._sample_rate_hz
        frame.time_base = Fraction(1, self._sample_rate_hz)
        frame.pts = self._samples_written
        self._container.mux(self._audio.encode(frame))
        self._samples_written += samples.size

    def close(self) -> None:
        """Flushes the encoders and finishes the file."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._container.close()


def exact_rate(fps: float) -> Fraction:
    """The fraction a decimal frame rate stands for: 23.976 is 24000/1001, 29.97 is 30000/1001, 25.0 is 25."""
    for nominal in NTSC_RATES:
        if abs(fps - nominal * 1000 / 1001) < 1e-3:
            return Fraction(nominal * 1000, 1001)
    return Fraction(fps).limit_denominator(1001)
