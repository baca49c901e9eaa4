"""Pictures small enough to live in Dagster's metadata: plots as they are, clips as frames over their sound."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

MAX_WIDTH_PIXELS = 720
MAX_PICTURE_BYTES = 160_000
MAX_PICTURES = 8
STRIP_FRAMES = 6
STRIP_HEIGHT_PIXELS = 96
WAVEFORM_HEIGHT_PIXELS = 48
WAVEFORM_COLOUR = (150, 90, 20)  # BGR, a dark blue


def pictures_as_markdown(root: Path, previews: tuple[str, ...]) -> str:
    """Markdown that shows the PNG and mp4 files among `previews` inline; other kinds are named by their path.

    At most `MAX_PICTURES` are drawn. A file that is gone is named as missing: a page must not fail over a picture.
    """
    lines = []
    drawn = 0
    for name in previews:
        path = root / name
        if not path.is_file():
            lines.append(f"`{name}` (missing)")
        elif path.suffix.lower() in (".png", ".mp4") and drawn < MAX_PICTURES:
            lines.append(f"`{name}`\n\n![{path.stem}](data:image/{_inline(path)})")
            drawn += 1
        else:
            lines.append(f"`{name}`")
    return "\n\n".join(lines)


def clip_strip(frames: numpy.ndarray, waveform: numpy.ndarray) -> numpy.ndarray:
    """`STRIP_FRAMES` evenly spaced frames side by side above the waveform, on one time axis.

    frames: uint8 [T, H, W, 3] RGB; waveform: float32 [S] in [-1, 1]. Returns uint8 [h, w, 3] BGR, as OpenCV writes it.
    """
    import cv2
    import numpy

    chosen = frames[numpy.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)]
    width = max(1, round(frames.shape[2] * STRIP_HEIGHT_PIXELS / frames.shape[1]))
    size = (width, STRIP_HEIGHT_PIXELS)
    strip = numpy.concatenate([cv2.resize(frame[..., ::-1], size) for frame in chosen], axis=1)
    return numpy.concatenate([strip, _waveform(waveform, strip.shape[1])], axis=0)


def _waveform(waveform: numpy.ndarray, width: int) -> numpy.ndarray:
    import numpy

    picture = numpy.full((WAVEFORM_HEIGHT_PIXELS, width, 3), 255, dtype=numpy.uint8)
    middle = WAVEFORM_HEIGHT_PIXELS / 2
    edges = numpy.linspace(0, len(waveform), width + 1).round().astype(int)
    for column, (start, end) in enumerate(itertools.pairwise(edges)):
        peak = min(1.0, float(numpy.abs(waveform[start:end]).max(initial=0.0))) * (middle - 1)
        picture[round(middle - peak) : round(middle + peak) + 1, column] = WAVEFORM_COLOUR
    return picture


def _inline(path: Path) -> str:
    """``png;base64,...`` or ``jpeg;base64,...`` of at most `MAX_PICTURE_BYTES`."""
    import cv2

    if path.suffix.lower() == ".mp4":
        from mova_core.data.media import read_clip

        picture = clip_strip(*read_clip(path))
    else:
        content = path.read_bytes()
        decoded = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError(f"{path} does not decode as a picture")
        picture = decoded
        if picture.shape[1] <= MAX_WIDTH_PIXELS and len(content) <= MAX_PICTURE_BYTES:
            return f"png;base64,{base64.b64encode(content).decode('ascii')}"
    return f"jpeg;base64,{base64.b64encode(_small_jpeg(picture)).decode('ascii')}"


def _small_jpeg(picture: numpy.ndarray) -> bytes:
    """JPEG of the picture, narrowed and then coarsened until it fits."""
    import cv2

    if picture.shape[1] > MAX_WIDTH_PIXELS:
        height = max(1, round(picture.shape[0] * MAX_WIDTH_PIXELS / picture.shape[1]))
        picture = cv2.resize(picture, (MAX_WIDTH_PIXELS, height), interpolation=cv2.INTER_AREA)
    content = b""
    for quality in (85, 60, 35, 10):
        content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(content) <= MAX_PICTURE_BYTES:
            break
    return content
