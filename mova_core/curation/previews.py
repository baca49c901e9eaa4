"""Pictures for the report: some accepted clips with their sound, and how many clips were rejected for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mova_core.data.media import read_clip
from mova_core.data.records import Clip
from mova_core.errors import UserError
from mova_core.files import written_aside
from mova_core.workspace import Workspace

NUM_SHOWN = 8
FRAMES_SHOWN = 9
DOTS_PER_INCH = 80


def write_previews(
    workspace: Workspace, collection: str, clips: Sequence[Clip], reasons: Mapping[str, int]
) -> list[str]:
    """Writes the PNGs; returns their paths relative to the workspace.

    Parameters
    ----------
    reasons : reason -> number of rejected rows.

    Raises
    ------
    UserError : if Matplotlib is not installed.
    """
    folder = workspace.reports / "previews"
    written = []
    if clips:
        written.append(folder / f"curate-{collection}-clips.png")
        _save(_clip_sheet(spread(clips, NUM_SHOWN), workspace.clips(collection)), written[-1])
    written.append(folder / f"curate-{collection}-rejects.png")
    _save(_reject_bars({"accepted": len(clips), **dict(sorted(reasons.items()))}, collection), written[-1])
    return [str(path.relative_to(workspace.root)) for path in written]


def spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Up to `count` clips, as different in kind and label as there are."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.kind, clip.label), []).append(clip)
    # The commonest groups first, one clip of each in turn.
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0].clip_id))
    longest = max(len(group) for group in ordered)
    return [group[turn] for turn in range(longest) for group in ordered if turn < len(group)][:count]


def _clip_sheet(clips: Sequence[Clip], folder: Path) -> Any:
    """A row of frames over the waveform, for each clip."""
    figure = _figure(9, 1.5 * len(clips))
    axes = figure.subplots(2 * len(clips), 1, squeeze=False, height_ratios=[1.6, 1] * len(clips))[:, 0]
    for clip, above, below in zip(clips, axes[0::2], axes[1::2], strict=True):
        frames, waveform = read_clip(folder / clip.path)
        above.imshow(_strip(frames), aspect="auto")
        sound = f"agreement {clip.av_onset_agreement:.2f}  {clip.loudness_lufs:.0f} LUFS"
        title = f"{clip.label or 'no label'}  {clip.kind}  {sound}"
        above.set_title(title, fontsize=7, loc="left", pad=2)
        below.plot(np.arange(waveform.size) / clip.sample_rate_hz, waveform, linewidth=0.4)
        below.set_xlim(0, clip.duration_seconds)
        below.set_ylim(-1, 1)
        for axis in (above, below):
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shown = np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)
    return np.concatenate(list(frames[shown]), axis=1)


def _reject_bars(counts: Mapping[str, int], collection: str) -> Any:
    figure = _figure(7, 0.6 + 0.35 * len(counts))
    axis = figure.subplots()
    bars = axis.barh(list(counts), list(counts.values()), color=["tab:green", *["tab:red"] * (len(counts) - 1)])
    axis.bar_label(bars, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_title(f"{collection}: {sum(counts.values())} windows and what became of them", fontsize=9)
    return figure


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "Matplotlib is not installed",
            expected="the package `matplotlib`, which draws the previews",
            remedy="run `pip install 'mova-lineage[curation]'`",
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with written_aside(path) as aside:
        # No date or version inside: the same figure is the same bytes.
        figure.savefig(aside, dpi=DOTS_PER_INCH, metadata={"Software": None})
