"""One source cut into clips. Runs in a worker process and needs nothing but its task."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mova_core.config.curation import CurateConfig
from mova_core.config.media import MediaConfig
from mova_core.curation.score import score_window
from mova_core.curation.segment import Window, find_windows
from mova_core.curation.stopwatch import Stopwatch
from mova_core.curation.survey import Survey, survey
from mova_core.curation.thresholds import passes
from mova_core.data.media import MediaError, write_clip
from mova_core.data.records import Clip, Source
from mova_core.data.truth import SourceTruth
from mova_core.errors import UserError
from mova_core.files import content_id, sha256_of_file

# Raise when the same source gives other pixels, samples or scores under the same settings.
CURATE_VERSION = 1


@dataclass(frozen=True)
class SourceTask:
    """A source to cut.

    Attributes
    ----------
    path : the video.
    truth_path : its label sidecar, which need not exist.
    folder : the collection's clips folder.
    seed : of the draws of windows; each source draws from its own generator.
    """

    source: Source
    path: Path
    truth_path: Path
    folder: Path
    media: MediaConfig
    config: CurateConfig
    seed: int


@dataclass(frozen=True)
class SourceOutcome:
    """All windows of a source, scored, whether they pass the gates or not; or why there are none."""

    clips: list[Clip]
    reason: str = ""
    detail: str = ""

    def to_values(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_values(values: Any) -> SourceOutcome | None:
        """What `to_values` made; None for what it did not make: then the source is cut again."""
        try:
            return SourceOutcome([Clip(**clip) for clip in values["clips"]], values["reason"], values["detail"])
        except (TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Cost:
    """Seconds of one worker for one source: in all, in the decoders, in the encoders."""

    total_seconds: float
    decode_seconds: float
    encode_seconds: float


def curate_source(task: SourceTask) -> tuple[SourceOutcome, Cost]:
    """Cuts, scores and writes. A source that does not decode to its end has a reason instead of clips."""
    whole, encoding = Stopwatch(), Stopwatch()
    decode_seconds = 0.0
    with whole:
        try:
            truth = _truth(task)
            _see_that_it_is_the_ingested_file(task)
            found = survey(task.path, task.source, task.media, task.config)
            decode_seconds = found.decode_seconds
            clips = [_clip(task, found, window, truth, encoding) for window in _windows(task, found)]
            outcome = SourceOutcome(clips) if clips else _no_window(task)
        except MediaError as error:
            outcome = SourceOutcome([], error.reason, error.detail)
    return outcome, Cost(whole.seconds, decode_seconds, encoding.seconds)


def clip_path(clip_id: str) -> str:
    """Where a clip lies within its collection's clips folder."""
    return f"clips/{clip_id}.mp4"


def _see_that_it_is_the_ingested_file(task: SourceTask) -> None:
    if not task.path.is_file():
        raise MediaError("gone", "the file was there when it was ingested; ingest again")
    if sha256_of_file(task.path) != task.source.sha256:
        raise MediaError("changed", "other bytes than when it was ingested; ingest again")


def _truth(task: SourceTask) -> SourceTruth | None:
    if not task.truth_path.is_file():
        return None
    try:
        return SourceTruth.load(task.truth_path)
    except UserError as error:
        raise MediaError("bad_labels", str(error)) from error


def _no_window(task: SourceTask) -> SourceOutcome:
    wanted, there = task.media.clip_seconds, task.source.duration_seconds
    return SourceOutcome([], "no_window", f"no clip of {wanted:g} s fits into its {there:g} s of shots")


def _windows(task: SourceTask, found: Survey) -> list[Window]:
    generator = np.random.default_rng([task.seed, int(task.source.sha256[:16], 16)])
    return find_windows(found.timeline, task.media.clip_seconds, task.config.multi_shot_share, generator)


def _clip(task: SourceTask, found: Survey, window: Window, truth: SourceTruth | None, encoding: Stopwatch) -> Clip:
    media = task.media
    frames, waveform = found.clip_frames(window.start_seconds), found.clip_waveform(window.start_seconds)
    label, truth_json = "", ""
    if truth is not None:
        with contextlib.suppress(ValueError):  # a window that no labelled shot overlaps has no truth
            of_clip = truth.window(window.start_seconds, media.clip_seconds)
            label, truth_json = of_clip.label, of_clip.to_json()
    form = (CURATE_VERSION, media.model_dump_json(), found.fit)
    clip_id = content_id(task.source.collection, task.source.sha256, window.start_seconds, *form)
    clip = Clip(
        clip_id=clip_id,
        source_id=task.source.source_id,
        collection=task.source.collection,
        split="",
        path=clip_path(clip_id),
        start_seconds=window.start_seconds,
        duration_seconds=media.clip_seconds,
        num_frames=media.num_frames,
        fps=media.fps,
        width=media.width,
        height=media.height,
        sample_rate_hz=media.sample_rate_hz,
        kind=window.kind,
        num_cuts=window.num_cuts,
        label=label,
        truth_json=truth_json,
        **asdict(score_window(found, window, frames, waveform)),
    )
    if passes(clip, task.config.gates):
        with encoding:
            write_clip(task.folder / clip.path, frames, waveform, media.fps, media.sample_rate_hz)
    return clip
