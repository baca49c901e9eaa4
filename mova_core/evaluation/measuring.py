"""From clips, as files or arrays, to the measures of one set. Imports no torch: worker processes start small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mova_core.data.media import MediaError, read_clip
from mova_core.data.truth import Truth
from mova_core.errors import UserError
from mova_core.evaluation.audible import Waveform
from mova_core.evaluation.av_align import av_align
from mova_core.evaluation.offsets import EDGE_SECONDS, ClipEvents, Seconds, signed_offsets
from mova_core.evaluation.results import DetectorError, Modality, SetKind, SetResult, Spread
from mova_core.evaluation.sync import detect, summarise
from mova_core.evaluation.visible import DETECTORS, Frames
from mova_core.scorers.sound import loudness_lufs


@dataclass(frozen=True)
class ClipFile:
    """A clip to measure: its file and the class it was asked to show, or shows."""

    clip_id: str
    label: str
    path: Path
    fps: float
    sample_rate_hz: int


@dataclass(frozen=True)
class ClipMeasures:
    """The measures of one clip; `events` is None where no class with a detector is shown."""

    clip_id: str
    label: str
    events: ClipEvents | None
    av_align: float
    loudness_lufs: float


def measure_file(clip: ClipFile) -> ClipMeasures:
    """Decodes and measures a clip.

    Raises
    ------
    UserError : if the file is absent or does not decode.
    """
    frames, waveform = read_whole(clip.path)
    return measure_arrays(clip, frames, waveform)


def read_whole(path: Path) -> tuple[Frames, Waveform]:
    """Frames and waveform of a clip that an earlier step wrote.

    Raises
    ------
    UserError : as `measure_file`.
    """
    try:
        return read_clip(path)
    except (MediaError, OSError) as error:
        raise UserError(
            f"{path} does not read as a clip ({error})",
            expected="the mp4 that its manifest names",
            remedy="delete that folder's manifest.parquet and run the step that writes it again",
        ) from error


def measure_arrays(clip: ClipFile, frames: Frames, waveform: Waveform) -> ClipMeasures:
    """Measures a clip that is already decoded; `clip.path` is not read."""
    events = None
    if clip.label in DETECTORS:
        events = detect(frames, waveform, clip.label, clip.fps, clip.sample_rate_hz)
    return ClipMeasures(
        clip_id=clip.clip_id,
        label=clip.label,
        events=events,
        av_align=av_align(frames, waveform, clip.fps, clip.sample_rate_hz),
        loudness_lufs=loudness_lufs(waveform, clip.sample_rate_hz),
    )


def set_result(
    measures: Sequence[ClipMeasures],
    *,
    name: str,
    kind: SetKind,
    phase: str,
    height: int,
    width: int,
    fps: float,
    seed: int,
) -> SetResult:
    """The figures of a set."""
    events = [clip.events for clip in measures if clip.events is not None]
    return SetResult(
        name=name,
        kind=kind,
        phase=phase,
        height=height,
        width=width,
        num_clips=len(measures),
        num_left_out=len(measures) - len(events),
        sync=summarise(events, fps, seed),
        av_align=spread(clip.av_align for clip in measures),
        loudness_lufs=spread(clip.loudness_lufs for clip in measures),
    )


def spread(values: Iterable[float]) -> Spread:
    """Mean and population deviation; NaN for no values."""
    array = np.fromiter(values, dtype=np.float64)
    if not len(array):
        return Spread(float("nan"), float("nan"))
    return Spread(float(array.mean()), float(array.std()))


def detector_errors(measures: Sequence[ClipMeasures], truths: dict[str, Truth], fps: float) -> list[DetectorError]:
    """The detectors against the truth of real clips, per class and modality; clips without truth do not count."""
    known = [clip for clip in measures if clip.events is not None and clip.clip_id in truths]
    errors = []
    for label in sorted({clip.label for clip in known}):
        chosen = [clip for clip in known if clip.label == label]
        for modality in ("video", "audio"):
            true = [_true_instants(truths[clip.clip_id], modality) for clip in chosen]
            found = [_found_instants(clip, modality) for clip in chosen]
            errors.append(_detector_error(label, modality, true, found, 1 / fps))
    return errors


def _true_instants(truth: Truth, modality: Modality) -> Seconds:
    instants = [event.video_seconds if modality == "video" else event.audio_seconds for event in truth.events]
    return np.array(instants, dtype=np.float64)


def _found_instants(clip: ClipMeasures, modality: Modality) -> Seconds:
    assert clip.events is not None
    return clip.events.video if modality == "video" else clip.events.audio


def _detector_error(
    label: str, modality: Modality, true: list[Seconds], found: list[Seconds], frame_seconds: float
) -> DetectorError:
    offsets = np.concatenate([signed_offsets(*pair) for pair in zip(true, found, strict=True)])
    paired = offsets[~np.isnan(offsets)]
    near = np.count_nonzero(np.abs(paired) <= frame_seconds + EDGE_SECONDS)
    return DetectorError(
        label=label,
        modality=modality,
        num_true=len(offsets),
        num_found=sum(len(instants) for instants in found),
        within_one_frame=near / len(offsets) if len(offsets) else float("nan"),
        median_seconds=float(np.median(paired)) if len(paired) else float("nan"),
        median_abs_seconds=float(np.median(np.abs(paired))) if len(paired) else float("nan"),
    )
