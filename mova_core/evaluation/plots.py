"""The report's figures, drawn with matplotlib: as SVG for the page, as PNG for previews. Equal input, equal bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mova_core.evaluation.offsets import Chance, Direction, Estimate
from mova_core.evaluation.results import Evaluation, History
from mova_core.files import write_bytes

COLOURS = {"trained": "#2457d6", "bridge_off": "#d9730d", "chance": "#7b8494", "codec": "#13855f"}
PHASE_COLOURS = ("#2457d6", "#13855f", "#d9730d", "#8a3ffc")
INK, MUTED, GRID = "#1d2433", "#5b6475", "#e3e7ee"
BINS_PER_FRAME = 3
# What an SVG says of itself unless told not to: a date, and names of vocabularies elsewhere.
SVG_METADATA = ("Date", "Creator", "Format", "Type")
REACH_SECONDS = 0.5
# At which the page shows the text a little larger than its own small print.
PAGE_INCHES = 12.4
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
    "svg.hashsalt": "mova",
}


@dataclass(frozen=True)
class Panel:
    """One offset histogram: `offsets` in seconds, and the share of events within one frame; `kind` names its colour."""

    title: str
    kind: str
    offsets: Sequence[float]
    num_events: int
    share: Estimate
    median_abs_seconds: float
    count_noun: str

    @property
    def colour(self) -> str:
        return COLOURS[self.kind]


def draw(evaluation: Evaluation) -> dict[str, Any]:
    """Every figure by name: ``offsets_<phase>``, ``within_one_frame``, and ``training`` where there are curves."""
    figures = {
        f"offsets_{phase}": offsets_figure(offset_panels(evaluation, phase), evaluation.fps)
        for phase in evaluation.phases
    }
    figures["within_one_frame"] = intervals_figure(evaluation)
    if evaluation.history:
        figures["training"] = history_figure(evaluation.history)
    return figures


def offset_panels(evaluation: Evaluation, phase: str) -> list[Panel]:
    """The four histograms of a phase: trained, Bridge off, re-paired, real; those whose sets there are."""
    panels = []
    for entry in evaluation.of_kind("trained", phase):
        panels.append(_panel("trained", "trained", entry.sync.overall.video_to_audio))
        panels.append(_chance_panel(entry.sync.overall.chance))
    for entry in evaluation.of_kind("bridge_off", phase):
        panels.insert(1, _panel("Bridge off", "bridge_off", entry.sync.overall.video_to_audio))
    ceiling = evaluation.ceiling(phase)
    if ceiling is not None:
        panels.append(_panel("real clips (ceiling)", "codec", ceiling.sync.overall.video_to_audio))
    return panels


def _panel(title: str, kind: str, direction: Direction) -> Panel:
    return Panel(
        title,
        kind,
        direction.offsets,
        direction.num_events,
        direction.within_one_frame,
        direction.median_abs_seconds.value,
        "events",
    )


def _chance_panel(chance: Chance) -> Panel:
    return Panel(
        "re-paired (chance)",
        "chance",
        chance.offsets,
        len(chance.offsets),
        chance.within_one_frame,
        chance.median_abs_seconds,
        "re-paired",
    )


def offsets_figure(panels: Sequence[Panel], fps: float) -> Any:
    """Histograms side by side on one scale; offsets beyond half a second are gathered in the outermost bars."""
    figure, axes = _figure(len(panels), 2.9, left=0.5, top=0.6)
    frame_ms = 1000 / fps
    num_bins = int(REACH_SECONDS * fps * BINS_PER_FRAME)
    edges = np.arange(-num_bins, num_bins + 1) * frame_ms / BINS_PER_FRAME
    for axis, panel in zip(axes, panels, strict=True):
        offsets = np.clip(1000 * np.array(panel.offsets), edges[0], edges[-1])
        share = np.histogram(offsets, edges)[0] / max(panel.num_events, 1)
        axis.axvspan(-frame_ms, frame_ms, color=panel.colour, alpha=0.10, linewidth=0)
        axis.stairs(share, edges, fill=True, color=panel.colour)
        axis.axvline(0, color=INK, linewidth=0.6)
        axis.set_title(panel.title, color=panel.colour, loc="left", fontweight="bold", pad=34)
        axis.set_xlabel("sound minus picture, ms")
        axis.annotate(
            _caption(panel), (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", color=MUTED
        )
        axis.set_xlim(edges[0], edges[-1])
        axis.set_xticks([-400, -200, 0, 200, 400])
    tallest = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(0, tallest * 1.05)
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure


def _caption(panel: Panel) -> str:
    estimate, median = panel.share, panel.median_abs_seconds
    middle = "no median" if np.isnan(median) else f"median {1000 * median:.0f} ms"
    return (
        f"{number(estimate.value)} within 1 frame ({number(estimate.low)} to {number(estimate.high)})\n"
        f"{middle}, {panel.num_events} {panel.count_noun}"
    )


def number(share: float) -> str:
    """A share of 0..1 as the field writes it: ``.66``; ``1.00`` and ``-`` for none."""
    if np.isnan(share):
        return "-"
    return f"{share:.2f}".removeprefix("0") if share < 0.995 else "1.00"


def intervals_figure(evaluation: Evaluation) -> Any:
    """The share within one frame of every set with its interval, one row a set, phases below each other."""
    rows: list[tuple[str, str, Estimate]] = []
    for phase in evaluation.phases:
        rows += [(f"{phase} · {panel.title}", panel.colour, panel.share) for panel in offset_panels(evaluation, phase)]
    figure, (axis,) = _figure(1, 0.65 + 0.28 * len(rows), left=2.0, top=0.1)
    for position, (_, colour, estimate) in enumerate(rows):
        axis.plot([estimate.low, estimate.high], [position, position], color=colour, linewidth=5, alpha=0.3)
        axis.plot([estimate.value], [position], "o", color=colour, markersize=6)
        right = max(estimate.high, estimate.value) if not np.isnan(estimate.value) else 0.0
        axis.text(right + 0.015, position, number(estimate.value), va="center", color=colour, fontweight="bold")
    axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 1.08)
    axis.set_xticks(np.arange(0, 1.01, 0.2))
    axis.set_xlabel("share of visible events whose sound is within one frame")
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


def history_figure(history: Sequence[History]) -> Any:
    """Training losses of all phases one after the other, with held-out losses as dots."""
    figure, axes = _figure(2, 2.95, left=0.5, top=0.35)
    for axis, name in zip(axes, ("video_loss", "audio_loss"), strict=True):
        start = 0
        for number_of_phase, entry in enumerate(history):
            if name not in entry.curves:
                continue
            curve, held_out = entry.curves[name], entry.curves.get(f"validation_{name}")
            colour = PHASE_COLOURS[number_of_phase % len(PHASE_COLOURS)]
            axis.plot([start + step for step in curve.steps], curve.values, color=colour, linewidth=1.1, alpha=0.75)
            if held_out is not None:
                steps = [start + step for step in held_out.steps]
                axis.plot(steps, held_out.values, "o-", color=colour, markersize=3.5, linewidth=0.8)
            axis.axvline(start, color=GRID, linewidth=0.8, zorder=0)
            axis.annotate(
                entry.phase, (start, 1), xycoords=("data", "axes fraction"), xytext=(3, -9),
                textcoords="offset points", color=colour, fontsize=8.5,
            )  # fmt: skip
            start += curve.steps[-1] if curve.steps else 0
        axis.set_title(name.replace("_", " "), loc="left", fontweight="bold")
        axis.set_xlabel("step")
        axis.grid(axis="y", color=GRID, linewidth=0.8)
        if axis.lines:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
            axis.tick_params(axis="y", which="minor", labelsize=7.5)
    return figure


def _figure(num_axes: int, height: float, *, left: float, top: float) -> tuple[Any, list[Any]]:
    """A figure of its own, without pyplot's global state, under `STYLE`; `height` and margins in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE_INCHES, height))
        axes = figure.subplots(1, num_axes, squeeze=False)[0]
    # Stated, since finding margins that fit takes longer than drawing.
    figure.subplots_adjust(
        left=left / PAGE_INCHES, right=1 - 0.25 / PAGE_INCHES, bottom=0.5 / height, top=1 - top / height, wspace=0.18
    )
    return figure, list(axes)


def as_svg(figure: Any) -> str:
    """An ``<svg>`` element that scales with the page, without the document head."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(SVG_METADATA))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Any, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
