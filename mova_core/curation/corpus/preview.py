"""A contact sheet a class: pictures of some clips in a row, and under each row the sound of the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.curation.corpus.plan import ShotPlan, VideoPlan
from mova_core.data.media import frames_on_grid, iter_frames, read_audio
from mova_core.files import write_bytes

ROWS = 4
COLUMNS = 12
CELL = 96
STRIP_HEIGHT = 56
SAMPLE_RATE_HZ = 48_000
WAVE_COLOUR, EVENT_COLOUR, PAPER = (70, 70, 80), (220, 90, 60), 250

Picture = NDArray[np.uint8]


def write_contact_sheet(path: Path, label: str, plans: Sequence[VideoPlan], folder: Path, clip_seconds: float) -> None:
    """Writes a PNG with up to `ROWS` clips of class `label`, read back from the videos in `folder`.

    Orange lines in the sound mark the events that the truth states.
    """
    import cv2

    rows = [_row(folder / f"{plan.name}.mp4", shot, clip_seconds) for plan, shot in _first_shots(label, plans)]
    sheet = np.concatenate(rows)
    # Through memory: OpenCV does not tell why a file could not be written.
    _, picture = cv2.imencode(".png", sheet[..., ::-1])
    write_bytes(path, picture.tobytes())


def _first_shots(label: str, plans: Sequence[VideoPlan]) -> Iterator[tuple[VideoPlan, ShotPlan]]:
    found = ((plan, shot) for plan in plans for shot in plan.shots if shot.label == label)
    for _, pair in zip(range(ROWS), found, strict=False):
        yield pair


def _row(path: Path, shot: ShotPlan, clip_seconds: float) -> Picture:
    import cv2

    start = shot.start_seconds
    frames = iter_frames(path, start, start + clip_seconds)
    cells = []
    for frame in frames_on_grid(frames, COLUMNS / clip_seconds, start, COLUMNS):
        height, width = frame.shape[:2]
        scale = CELL / max(height, width)
        small = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        cell = np.full((CELL, CELL, 3), PAPER, np.uint8)
        cell[: small.shape[0], : small.shape[1]] = small
        cells.append(cell)
    sound = read_audio(path, SAMPLE_RATE_HZ, start, clip_seconds)
    events = [stroke.seconds / clip_seconds for stroke in shot.strokes if stroke.seconds < clip_seconds]
    return np.concatenate([np.concatenate(cells, axis=1), wave_strip(sound, events, COLUMNS * CELL)])


def wave_strip(sound: NDArray[np.float32], events: Sequence[float], width: int) -> Picture:
    """The waveform's extremes column by column, its peak filling the strip; events (shares of the width) as lines."""
    strip = np.full((STRIP_HEIGHT, width, 3), PAPER, np.uint8)
    for event in events:
        column = int(event * width)
        strip[:, column : column + 2] = EVENT_COLOUR
    middle = STRIP_HEIGHT / 2
    height = middle / max(float(np.abs(sound).max()), 1e-3)
    for column, part in enumerate(np.array_split(sound, width)):
        top, bottom = int(middle - part.max() * height), int(np.ceil(middle - part.min() * height))
        strip[max(top, 0) : max(bottom, top + 1), column] = WAVE_COLOUR
    return strip
