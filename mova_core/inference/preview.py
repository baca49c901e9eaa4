"""A contact sheet: what a set of samples looks and sounds like on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.files import write_bytes

Pixels = NDArray[np.uint8]

NUM_COLUMNS = 9
CELL_PIXELS = 96
GAP_PIXELS = 4
CAPTION_PIXELS = 18
WAVE_PIXELS = 44
BACKGROUND = (250, 250, 250)
INK = (40, 40, 40)
WAVE_INK = (56, 97, 180)


def contact_sheet(
    clips: Sequence[tuple[Pixels, NDArray[np.float32]]],
    captions: Sequence[str],
    path: Path,
    num_columns: int = NUM_COLUMNS,
) -> None:
    """Writes a PNG with one row a clip: evenly spaced frames, and below them the waveform on the same time axis.

    Parameters
    ----------
    clips : frames ``[T, H, W, 3]`` uint8 and waveform ``[S]`` in [-1, 1], of the same duration.
    captions : one line a clip, shown above it.
    """
    import cv2

    rows = [
        _row(frames, waveform, caption, num_columns)
        for (frames, waveform), caption in zip(clips, captions, strict=True)
    ]
    sheet = np.concatenate(rows, axis=0)
    encoded, content = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise RuntimeError(f"the contact sheet of {sheet.shape[1]}x{sheet.shape[0]} pixels did not encode as PNG")
    write_bytes(path, content.tobytes())


def _row(frames: Pixels, waveform: NDArray[np.float32], caption: str, num_columns: int) -> Pixels:
    import cv2

    step = CELL_PIXELS + GAP_PIXELS
    height = CAPTION_PIXELS + CELL_PIXELS + WAVE_PIXELS + 2 * GAP_PIXELS
    row = np.full((height, num_columns * step + GAP_PIXELS, 3), BACKGROUND, np.uint8)
    # OpenCV's fonts hold ASCII only; anything else would be drawn as question marks of another width.
    text = caption.encode("ascii", "replace").decode()
    cv2.putText(row, text, (GAP_PIXELS, CAPTION_PIXELS - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    # A column shows the frame at the middle of its stretch of time, so that it stands above its own sound.
    for column in range(num_columns):
        frame = frames[int((column + 0.5) * len(frames) / num_columns)]
        left = GAP_PIXELS + column * step
        row[CAPTION_PIXELS : CAPTION_PIXELS + CELL_PIXELS, left : left + CELL_PIXELS] = _fitted(frame)
    wave = _waveform(waveform, row.shape[1] - 2 * GAP_PIXELS, WAVE_PIXELS)
    row[-WAVE_PIXELS - GAP_PIXELS : -GAP_PIXELS, GAP_PIXELS:-GAP_PIXELS] = wave
    return row


def _fitted(frame: Pixels) -> Pixels:
    """The whole frame inside a square cell: small pictures by whole factors and without smoothing."""
    import cv2

    longest = max(frame.shape[:2])
    if longest <= CELL_PIXELS:
        factor = CELL_PIXELS // longest
        scaled = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    else:
        size = tuple(max(1, round(side * CELL_PIXELS / longest)) for side in (frame.shape[1], frame.shape[0]))
        scaled = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    cell = np.full((CELL_PIXELS, CELL_PIXELS, 3), BACKGROUND, np.uint8)
    top, left = ((CELL_PIXELS - side) // 2 for side in scaled.shape[:2])
    cell[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return cell


def _waveform(waveform: NDArray[np.float32], width: int, height: int) -> Pixels:
    """Lowest to highest sample of each column of pixels, on full scale."""
    picture = np.full((height, width, 3), 255, np.uint8)
    edges = np.linspace(0, waveform.size, width + 1).astype(int)
    for column in range(width):
        piece = waveform[edges[column] : max(edges[column + 1], edges[column] + 1)]
        if piece.size:
            high, low = ((1 - float(np.clip(v, -1, 1))) / 2 * (height - 1) for v in (piece.max(), piece.min()))
            picture[round(high) : round(low) + 1, column] = WAVE_INK
    return picture
