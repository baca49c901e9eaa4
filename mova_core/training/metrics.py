"""The line of figures that every step leaves, and what is drawn and reported from them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mova_core.files import write_text, written_aside

Line = dict[str, Any]

SMOOTHING = 0.95


class MetricsFile:
    """metrics.jsonl: a line a step, added in order.

    A run that goes on after step `done` drops the lines of the steps it will repeat.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= done]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, lines: Iterable[Line]) -> None:
        """Appends lines; each ends with a newline, so a line cut short by a kill is recognised."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)


def read_metrics(path: Path) -> list[Line]:
    """All lines of a metrics file that are whole; none if there is no file."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            values = json.loads(line) if line.endswith("\n") else None
            if isinstance(values, dict) and "step" in values:
                lines.append(values)
    return lines


def draw_curves(metrics: Path, path: Path, title: str) -> None:
    """Losses by step, smoothed over the raw ones, with held-out losses as dots; and the learning rate. A PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_metrics(metrics)
    names = [name for name in ("video_loss", "audio_loss") if name in lines[0]]
    figure, axes = pyplot.subplots(1, len(names) + 1, figsize=(4.5 * (len(names) + 1), 3.5), layout="constrained")
    steps = [line["step"] for line in lines]
    for axis, name in zip(axes, names, strict=False):
        values = [line[name] for line in lines]
        axis.plot(steps, values, linewidth=0.5, alpha=0.35, color="tab:blue")
        axis.plot(steps, smoothed(values), color="tab:blue", label="training")
        held_out = [(line["step"], line["validation_" + name]) for line in lines if "validation_" + name in line]
        if held_out:
            axis.plot(*zip(*held_out, strict=True), "o-", color="tab:orange", label="held out")
        axis.set(title=name.replace("_", " "), xlabel="step", yscale="log")
        axis.legend()
    axes[-1].plot(steps, [line["learning_rate"] for line in lines], color="tab:green")
    axes[-1].set(title="learning rate", xlabel="step")
    figure.suptitle(title)
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def smoothed(values: list[float]) -> list[float]:
    """Exponential moving average, without the bias towards its start."""
    total = weight = 0.0
    averages = []
    for value in values:
        total, weight = SMOOTHING * total + value, SMOOTHING * weight + 1
        averages.append(total / weight)
    return averages
