"""The report's sections that are tables: offsets, classes, losses, other measures, detectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mova_core.evaluation import page
from mova_core.evaluation.offsets import Direction, Estimate, SyncFigures
from mova_core.evaluation.plots import number
from mova_core.evaluation.results import Evaluation, SetResult

KIND_NAMES = {"trained": "trained", "bridge_off": "Bridge off", "codec": "real, through the codecs", "real": "real"}


def offsets(evaluation: Evaluation, figures: dict[str, str]) -> str:
    """Histograms of every phase, and both directions of every set."""
    parts = []
    for phase in evaluation.phases:
        parts += [f"<h3>{page.text(phase)}</h3>", page.figure(figures[f"offsets_{phase}"])]
    heads = (
        "set", "clips", "visible events<br><small>missed</small>", "within 1 frame", "within 1 latent frame", "median",
        "audible events<br><small>missed</small>", "their picture within 1 frame", "median", "chance", "p",
    )  # fmt: skip
    explanation = (
        "Both directions: from each visible event to its nearest sound, and from each sound to its nearest visible "
        "event, where spurious onsets show. Missed are events of clips whose other modality holds none. p is the "
        "share of random re-pairings within classes that do at least as well."
    )
    return page.section(
        "offsets",
        "Offsets of events",
        *parts,
        page.paragraph(explanation, "note"),
        page.table(heads, (_set_row(entry) for entry in evaluation.sets)),
    )


def _set_row(entry: SetResult) -> list[str]:
    figures = entry.sync.overall
    return [
        _set_name(entry),
        str(figures.num_clips),
        *_direction_cells(figures.video_to_audio, latent=True),
        *_direction_cells(figures.audio_to_video, latent=False),
        _estimate(figures.chance.within_one_frame),
        "-" if math.isnan(figures.chance.p_value) else f"{figures.chance.p_value:.4f}",
    ]


def _set_name(entry: SetResult) -> str:
    words = f"{entry.phase} " if entry.phase else ""
    return (
        f'<span class="{entry.kind}">{page.text(words + KIND_NAMES[entry.kind])}</span> '
        f"<small>{entry.width}x{entry.height}</small>"
    )


def _direction_cells(direction: Direction, *, latent: bool) -> list[str]:
    cells = [f"{direction.num_events}<br><small>{direction.num_missed}</small>", _estimate(direction.within_one_frame)]
    if latent:
        cells.append(_estimate(direction.within_one_latent_frame))
    median = direction.median_abs_seconds
    return [*cells, _milliseconds(median.value)]


def _estimate(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    return f"{number(estimate.value)}<br><small>{number(estimate.low)}-{number(estimate.high)}</small>"


def _milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.0f} ms"


def classes(evaluation: Evaluation) -> str:
    """Every class in every set of a phase."""
    parts = []
    for phase in evaluation.phases:
        sets = [*evaluation.of_kind("trained", phase), *evaluation.of_kind("bridge_off", phase)]
        ceiling = evaluation.ceiling(phase)
        sets += [ceiling] if ceiling is not None else []
        labels = sorted({label for entry in sets for label in entry.sync.per_class})
        heads = ("class", *(_set_name(entry) for entry in sets), '<span class="chance">re-paired</span>')
        rows = [[page.text(label), *_class_cells(label, sets)] for label in labels]
        parts += [f"<h3>{page.text(phase)}</h3>", page.table(heads, rows)]
    explanation = "Within one frame, from the picture's side, with the interval, the number of events and the median."
    return page.section("classes", "Per class", page.paragraph(explanation, "note"), *parts)


def _class_cells(label: str, sets: Sequence[SetResult]) -> list[str]:
    found = [entry.sync.per_class.get(label) for entry in sets]
    cells = [_class_cell(figures) for figures in found]
    chance = found[0].chance.within_one_frame if found and found[0] is not None else None
    return [*cells, "-" if chance is None else _estimate(chance)]


def _class_cell(figures: SyncFigures | None) -> str:
    if figures is None:
        return "-"
    direction = figures.video_to_audio
    median = _milliseconds(direction.median_abs_seconds.value)
    estimate = direction.within_one_frame
    return (
        f"<b>{number(estimate.value)}</b> <small>{number(estimate.low)}-{number(estimate.high)}</small>"
        f"<br><small>{direction.num_events} events · {median}</small>"
    )


def losses(evaluation: Evaluation) -> str:
    """The held-out loss of every checkpoint, Bridge on and off."""
    heads = (
        "checkpoint", "size", "video, Bridge on", "video, off", "gain", "audio, Bridge on", "audio, off", "gain",
    )  # fmt: skip
    rows = []
    for loss in evaluation.losses:
        size = f"{loss.width}x{loss.height}"
        video = _loss_cells(loss.bridge_on.video, loss.bridge_off.video, loss.gain.video, loss.gain_error.video)
        audio = _loss_cells(loss.bridge_on.audio, loss.bridge_off.audio, loss.gain.audio, loss.gain_error.audio)
        rows.append([page.text(loss.phase), size, *video, *audio])
    counts = "".join(
        f"{loss.num_clips} clips, {loss.num_draws} draws each, the same for every row. "
        for loss in evaluation.losses[:1]
    )
    explanation = (
        counts
        + "Squared velocity error at noise levels uniform on 0..1, independent for the two modalities. The gain is "
        "what the Bridge takes off, with its standard error over clips. Compare rows of one size only."
    )
    return page.section("losses", "Held-out loss", page.paragraph(explanation, "note"), page.table(heads, rows))


def _loss_cells(on: float, off: float, gain: float, error: float) -> list[str]:
    return [f"{on:.4f}", f"{off:.4f}", f"{gain:+.4f} <small>± {error:.4f}</small>"]


def other_measures(evaluation: Evaluation) -> str:
    """AV-Align, loudness, and what the codecs keep."""
    heads = ("set", "AV-Align", "loudness, LUFS")
    rows = [
        [
            _set_name(entry),
            f"{entry.av_align.mean:.3f} <small>± {entry.av_align.deviation:.3f}</small>",
            f"{entry.loudness_lufs.mean:.1f} <small>± {entry.loudness_lufs.deviation:.1f}</small>",
        ]
        for entry in evaluation.sets
    ]
    codec_rows = [
        [f"{entry.width}x{entry.height}", f"{entry.video_psnr_db:.1f} dB", f"{entry.audio_snr_db:.1f} dB"]
        for entry in evaluation.codecs
    ]
    explanation = (
        "AV-Align follows its published conventions (optical-flow peaks against spectral-flux onsets, all of them), "
        "mean and deviation over clips; on small synthetic pictures even real clips score far below 1."
    )
    return page.section(
        "measures",
        "Other measures",
        page.paragraph(explanation, "note"),
        page.table(heads, rows),
        "<h3>What the codecs keep of real clips</h3>",
        page.table(("size", "picture, PSNR", "sound, SNR"), codec_rows),
    )


def detectors(evaluation: Evaluation) -> str:
    """The detectors against the truth."""
    heads = ("class", "modality", "true events", "found", "true ones within 1 frame", "median error", "median distance")
    rows = [
        [
            page.text(error.label),
            error.modality,
            str(error.num_true),
            str(error.num_found),
            number(error.within_one_frame),
            "-" if math.isnan(error.median_seconds) else f"{1000 * error.median_seconds:+.1f} ms",
            "-" if math.isnan(error.median_abs_seconds) else f"{1000 * error.median_abs_seconds:.1f} ms",
        ]
        for error in evaluation.detectors
    ]
    explanation = (
        "The detectors on real held-out clips against the corpus' truth. They see one modality each and nothing of the "
        "truth, and no delay is taken out of them. Events at a clip's very edges are true but cannot be seen."
    )
    return page.section(
        "detectors", "How good the detectors are", page.paragraph(explanation, "note"), page.table(heads, rows)
    )
