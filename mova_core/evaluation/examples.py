"""Clips for the report: enlarged, with sound, inside the page, each over a strip of what the detectors found in it."""

from __future__ import annotations

import base64
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mova_core.data.media import write_clip
from mova_core.evaluation.audible import Waveform
from mova_core.evaluation.offsets import ClipEvents, Seconds
from mova_core.evaluation.page import text
from mova_core.evaluation.results import SetKind
from mova_core.evaluation.visible import Frames

STRIP_WIDTH, STRIP_HEIGHT, NUM_COLUMNS = 160, 34, 80
CONSTANT_RATE_FACTOR = 20


@dataclass(frozen=True)
class Cell:
    """One playable clip: `video` is a data URI, `strip` an SVG of its sound with the events of both modalities."""

    video: str
    strip: str


@dataclass(frozen=True)
class Column:
    """The clips of one set, a cell a row; None where the set lacks that clip."""

    title: str
    kind: SetKind
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Grid:
    """Rows are held-out clips, given by their class and prompt; columns are sets."""

    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    columns: tuple[Column, ...]


def spread_over_labels(labels: dict[str, str], count: int) -> list[str]:
    """Up to `count` clip ids from `labels` (id -> class): class by class in turn, within a class by id."""
    groups: dict[str, list[str]] = {}
    for clip_id in sorted(labels):
        groups.setdefault(labels[clip_id], []).append(clip_id)
    rounds = max((len(group) for group in groups.values()), default=0)
    ordered = [groups[label][turn] for turn in range(rounds) for label in sorted(groups) if turn < len(groups[label])]
    chosen = set(ordered[:count])
    return [clip_id for label in sorted(groups) for clip_id in groups[label] if clip_id in chosen]


def make_cell(
    frames: Frames, waveform: Waveform, events: ClipEvents | None, fps: float, sample_rate_hz: int, pixels: int
) -> Cell:
    """Encodes a clip at about `pixels` wide (by a whole factor, so that its own pixels stay visible)."""
    factor = max(1, round(pixels / frames.shape[2]))
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(
            path, large, waveform, fps, sample_rate_hz, audio_codec="aac", constant_rate_factor=CONSTANT_RATE_FACTOR
        )
        content = path.read_bytes()
    seconds = len(frames) / fps
    return Cell("data:video/mp4;base64," + base64.b64encode(content).decode("ascii"), strip(waveform, events, seconds))


def strip(waveform: Waveform, events: ClipEvents | None, seconds: float) -> str:
    """The waveform's envelope, with visible events as marks from above and audible ones from below."""
    edges = np.linspace(0, len(waveform), NUM_COLUMNS + 1).astype(int)
    loudest = max(float(np.abs(waveform).max(initial=0.0)), 1e-6)
    levels = [float(np.abs(waveform[a:b]).max(initial=0.0)) / loudest for a, b in itertools.pairwise(edges)]
    middle, half, step = STRIP_HEIGHT / 2, STRIP_HEIGHT / 2 - 7, STRIP_WIDTH / NUM_COLUMNS
    above = [f"{(i + 0.5) * step:.1f},{middle - half * level:.1f}" for i, level in enumerate(levels)]
    below = [f"{(i + 0.5) * step:.1f},{middle + half * level:.1f}" for i, level in enumerate(levels)]
    marks = ""
    if events is not None:
        marks = _marks(events.video, seconds, 0, 8, "#2457d6") + _marks(
            events.audio, seconds, STRIP_HEIGHT, STRIP_HEIGHT - 8, "#d9730d"
        )
    return (
        f'<svg viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}" role="img" aria-label="sound with detected events">'
        f'<polygon points="{" ".join(above + below[::-1])}" fill="#b9c2d0"/>{marks}</svg>'
    )


def _marks(instants: Seconds, seconds: float, base: float, tip: float, colour: str) -> str:
    parts = []
    for instant in instants:
        x = instant / seconds * STRIP_WIDTH
        parts.append(f'<polygon points="{x - 3.2:.1f},{base} {x + 3.2:.1f},{base} {x:.1f},{tip}" fill="{colour}"/>')
    return "".join(parts)


def grid_html(grid: Grid) -> str:
    """The rows and columns as HTML; a click plays a clip, a button a row."""
    heads = "".join(f'<div class="head {column.kind}">{text(column.title)}</div>' for column in grid.columns)
    rows = []
    for index, (label, prompt) in enumerate(zip(grid.labels, grid.prompts, strict=True)):
        cells = "".join(_cell_html(column.cells[index], index) for column in grid.columns)
        button = f'<button data-row="{index}">play row</button>'
        rows.append(f'<div class="prompt"><b>{text(label)}</b>{text(prompt)}<br>{button}</div>{cells}')
    width = f"190px repeat({len(grid.columns)}, 164px)"
    return (
        f'<div class="scroll"><div class="clips" style="grid-template-columns:{width}"><div></div>{heads}'
        f"{''.join(rows)}</div></div>"
    )


def _cell_html(cell: Cell | None, row: int) -> str:
    if cell is None:
        return "<div></div>"
    return (
        f'<div class="clip"><video src="{cell.video}" data-row="{row}" playsinline preload="auto"></video>'
        f"{cell.strip}</div>"
    )
