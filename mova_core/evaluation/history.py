"""Training curves, read from the lines that a run leaves in metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mova_core.evaluation.results import Curve, History

NAMES = ("video_loss", "audio_loss", "validation_video_loss", "validation_audio_loss")
# A report needs the shape of a curve, not every step of it.
NUM_POINTS = 240


def read_history(phase: str, path: Path) -> History | None:
    """The curves of a run; None where there is no such run. A line that a kill cut short is passed over."""
    if not path.is_file():
        return None
    lines = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
    ]
    curves = {}
    for name in NAMES:
        points = [(int(line["step"]), float(line[name])) for line in lines if name in line]
        if points:
            curves[name] = _thinned(points)
    return History(phase, curves)


def _thinned(points: list[tuple[int, float]]) -> Curve:
    """At most `NUM_POINTS` points, each the mean of a run of neighbours."""
    groups = np.array_split(np.array(points), min(NUM_POINTS, len(points)))
    return Curve(
        steps=tuple(round(float(group[:, 0].mean())) for group in groups),
        values=tuple(float(group[:, 1].mean()) for group in groups),
    )
