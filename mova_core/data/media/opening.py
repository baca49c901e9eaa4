"""Opens a local file with PyAV and turns every way in which that fails into one named reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

# Containers that hold their own pictures and sound. Others only name files to play (playlists, concat lists, manifests,
# numbered pictures), and opening one of those would open what it names.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,vc1,mjpeg,"
    "yuv4mpegpipe,asf,ogg,mxf,gxf,nut,rm,dv,wtv,nsv,amv,aac,ac3,eac3,aiff,amr,au,caf,flac,mp3,w64,wav"
)


class MediaError(Exception):
    """A file that cannot be read as wanted.

    Attributes
    ----------
    reason : one of ``empty_file``, ``unreadable``, ``no_video``, ``no_audio``, ``zero_length``, ``truncated``,
        ``corrupt``.
    detail : what was found, in one line.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())
        super().__init__(f"{reason}: {self.detail}")

    def __reduce__(self) -> tuple[object, ...]:
        return MediaError, (self.reason, self.detail)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yields the open container; errors of the library inside the block become `MediaError`.

    Only this one local file is ever opened: the name is never taken for a URL or a protocol, and a file that only names
    others (a playlist under a video's name) is unreadable.
    """
    if path.stat().st_size == 0:
        raise MediaError("empty_file", "0 bytes")
    try:
        container = av.open(local_url(path), options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS})
    except (av.error.FFmpegError, UnicodeError) as error:
        raise MediaError("unreadable", _short(error, path)) from error
    try:
        yield container
    except av.error.FFmpegError as error:
        raise MediaError("corrupt", _short(error, path)) from error
    finally:
        container.close()


def local_url(path: Path) -> str:
    """The path in a form that libav takes for a file, whatever characters it holds."""
    return f"file:{path}"


def video_stream(container: Any) -> Any:
    """The first video stream that is not a cover picture.

    Raises
    ------
    MediaError : if there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise MediaError("no_video", f"streams: {', '.join(s.type for s in container.streams) or 'none'}")


def audio_stream(container: Any) -> Any:
    """The first audio stream with a codec, a rate and a channel.

    Raises
    ------
    MediaError : if there is none.
    """
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.sample_rate > 0:
            return stream
    raise MediaError("no_audio", f"streams: {', '.join(s.type for s in container.streams) or 'none'}")


def video_origin(stream: Any) -> Fraction:
    """The instant on the container's clock, in seconds, that all times here count from: the first frame shown."""
    return Fraction(stream.start_time or 0) * Fraction(stream.time_base)


def clock_origin(container: Any, sound: Any) -> Fraction:
    """As `video_origin`, of the container's video; of `sound` in a file without pictures."""
    try:
        return video_origin(video_stream(container))
    except MediaError:
        return video_origin(sound)


def _short(error: Exception, path: Path) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).replace(str(path), path.name)
