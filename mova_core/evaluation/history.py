"""Training curves, read from the lines that a run leaves in metrics.jsonl."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mova_core.evaluation.results import Curve, History

NAMES = ("video_loss", "audio_loss", "validation_video_loss", "validation_audio_loss")
# A report needs the shape of a curve, not every step of it.
NUM_POINTS = 240


def read_history(phase: str, path: Path) -> History | None:
    """The curves of a run; None where there is no such run. A line cut short or damaged is passed over."""
    if not path.is_file():
        return None
    lines = list(_whole_lines(path.read_text(encoding="utf-8", errors="replace")))
    curves = {}
    for name in NAMES:
        points = [(int(line["step"]), float(line[name])) for line in lines if name in line]
        if points:
            curves[name] = _thinned(points)
    return History(phase, curves)


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict) and "step" in values:
                yield values


def _thinned(points: list[tuple[int, float]]) -> Curve:
    """At most `NUM_POINTS` points, each the mean of a run of neighbours."""
    groups = np.array_split(np.array(points), min(NUM_POINTS, len(points)))
    return Curve(
        steps=tuple(round(float(group[:, 0].mean())) for group in groups),
        values=tuple(float(group[:, 1].mean()) for group in groups),
    )
