"""The report: one HTML file with figures, tables and playable clips. It opens anywhere and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mova_core.evaluation import page
from mova_core.evaluation.examples import Grid, grid_html
from mova_core.evaluation.plots import number, offset_panels
from mova_core.evaluation.results import Evaluation
from mova_core.evaluation.tables import classes, detectors, losses, offsets, other_measures

TITLE = "MOVA evaluation"


@dataclass(frozen=True)
class ReportTexts:
    """What the report quotes: the lineage stamp, the configuration, and remarks on this run."""

    preset: str
    seed: int
    lineage: str
    configuration: str
    remarks: tuple[str, ...]


def render(evaluation: Evaluation, figures: dict[str, str], grid: Grid, texts: ReportTexts) -> str:
    """The whole page; `figures` are SVG elements under the names of `mova_core.evaluation.plots.draw`."""
    subtitle = (
        f"Generated clips of preset {texts.preset}, seed {texts.seed}, against the held-out clips whose prompt and "
        "first frame they were given. Events are detected in picture and sound separately; an offset is sound minus "
        f"picture, so positive means that the sound is late. One frame is {1000 / evaluation.fps:.1f} ms."
    )
    sections = [
        _headline(evaluation, figures),
        offsets(evaluation, figures),
        classes(evaluation),
        _clips(grid),
        _training(figures),
        losses(evaluation),
        other_measures(evaluation),
        detectors(evaluation),
        _limits(evaluation, texts.remarks),
        _provenance(texts),
    ]
    return page.document(TITLE, subtitle, sections)


def _headline(evaluation: Evaluation, figures: dict[str, str]) -> str:
    parts = []
    for phase in evaluation.phases:
        entries = []
        for panel in offset_panels(evaluation, phase):
            share = panel.share
            detail = f"95 %: {number(share.low)} to {number(share.high)} · {panel.num_events} {panel.count_noun}"
            entries.append(page.card(f"{phase}: {panel.title}", number(share.value), detail, panel.kind))
        parts.append(page.cards(entries))
    explanation = (
        "Share of visible events whose nearest sound lies within one frame. An event of a clip without any sound "
        "onset counts as a miss. Chance is the same clips with picture and sound re-paired within a class; the "
        "ceiling is real clips through the codecs, seen by the same detectors."
    )
    return page.section(
        "headline",
        "Does the sound fall on its picture?",
        page.paragraph(explanation),
        *parts,
        page.figure(figures["within_one_frame"]),
    )


def _clips(grid: Grid) -> str:
    key = (
        '<span class="key" style="background:#2457d6"></span>visible event'
        '<span class="key" style="background:#d9730d"></span>audible event'
        '<span class="key" style="background:#b9c2d0"></span>loudness'
    )
    explanation = (
        "A click plays a clip with its sound. Rows are the first held-out clips of each class by id, not chosen by how "
        "they turned out. Every column was given the same prompt, first frame and seed."
    )
    return page.section(
        "clips", "Listen and look", page.paragraph(explanation), f'<p class="note">{key}</p>', grid_html(grid)
    )


def _training(figures: dict[str, str]) -> str:
    if "training" not in figures:
        return page.section("training", "Training", page.paragraph("No run left a metrics.jsonl."))
    explanation = (
        "Lines are the training loss by step, dots the held-out loss that the run itself took, phase after phase."
    )
    return page.section(
        "training",
        "Training",
        page.paragraph(explanation, "note"),
        page.figure(figures["training"]),
    )


def _limits(evaluation: Evaluation, remarks: Iterable[str]) -> str:
    num_clips = min((entry.num_clips for entry in evaluation.sets if entry.phase), default=0)
    sentences = [
        f"One training run and one seed; {num_clips} generated clips a set. Intervals are over clips, not over runs.",
        "The corpus is rendered: four classes, plain pictures, one object, sounds of a few kinds. Nothing here says "
        "how the model does on filmed material.",
        "A bounce is seen by the light that the impact throws on the floor and a wheel's start by the light of its "
        "hub, as the corpus draws them. Through the nano codecs those survive where the motion itself smears.",
        "The nearest partner is taken, so clips with many onsets look better from the picture's side; the sound's "
        "side and chance show by how much.",
        "An event that the model never shows is in no denominator of the picture's side; compare the numbers of "
        "visible events with those of the real clips.",
        "The held-out loss hardly moves with synchrony; a small gain can stand for a large difference in offsets.",
    ]
    return page.section("limits", "Limits", page.items([*sentences, *remarks]))


def _provenance(texts: ReportTexts) -> str:
    return page.section(
        "provenance",
        "Where this comes from",
        page.unfolded("Lineage stamp", texts.lineage),
        page.unfolded("Configuration", texts.configuration),
    )
