"""The evaluation as flat named numbers: all of them for DVC, a few for the page of the step."""

from __future__ import annotations

import math

from mova_core.evaluation.offsets import SyncFigures
from mova_core.evaluation.results import Evaluation, SetResult


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Every figure under a name of its own, sorted by name; what could not be measured is left out."""
    values: dict[str, float] = {}
    for entry in evaluation.sets:
        values |= _of_set(entry)
    for codec in evaluation.codecs:
        values[f"codec_{codec.width}x{codec.height}_video_psnr_db"] = codec.video_psnr_db
        values["codec_audio_snr_db"] = codec.audio_snr_db
    for loss in evaluation.losses:
        for setting, pair in (("", loss.bridge_on), ("_bridge_off", loss.bridge_off), ("_gain", loss.gain)):
            values[f"{loss.phase}_video_loss{setting}"] = pair.video
            values[f"{loss.phase}_audio_loss{setting}"] = pair.audio
    for error in evaluation.detectors:
        values[f"detector_{error.label}_{error.modality}_within_one_frame"] = error.within_one_frame
        values[f"detector_{error.label}_{error.modality}_median_ms"] = 1000 * error.median_seconds
    return {name: round(values[name], 6) for name in sorted(values) if math.isfinite(values[name])}


def headline_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The figures that a person looks for first."""
    names = [f"{entry.name}_within_one_frame" for entry in evaluation.sets]
    names += [f"{entry.name}_chance_within_one_frame" for entry in evaluation.of_kind("trained")]
    names += [f"{entry.name}_median_abs_ms" for entry in evaluation.of_kind("trained")]
    names += [f"{loss.phase}_{modality}_loss" for loss in evaluation.losses for modality in ("video", "audio")]
    values = flat_metrics(evaluation)
    return {name: values[name] for name in names if name in values}


def _of_set(entry: SetResult) -> dict[str, float]:
    values = _of_figures(entry.name, entry.sync.overall)
    for label, figures in entry.sync.per_class.items():
        values[f"{entry.name}_{label}_within_one_frame"] = figures.video_to_audio.within_one_frame.value
        values[f"{entry.name}_{label}_visible_events"] = figures.video_to_audio.num_events
    values[f"{entry.name}_av_align"] = entry.av_align.mean
    values[f"{entry.name}_loudness_lufs"] = entry.loudness_lufs.mean
    return values


def _of_figures(name: str, figures: SyncFigures) -> dict[str, float]:
    seen, heard, chance = figures.video_to_audio, figures.audio_to_video, figures.chance
    return {
        f"{name}_clips": figures.num_clips,
        f"{name}_visible_events": seen.num_events,
        f"{name}_audible_events": heard.num_events,
        f"{name}_within_one_frame": seen.within_one_frame.value,
        f"{name}_within_one_frame_low": seen.within_one_frame.low,
        f"{name}_within_one_frame_high": seen.within_one_frame.high,
        f"{name}_within_one_latent_frame": seen.within_one_latent_frame.value,
        f"{name}_median_abs_ms": 1000 * seen.median_abs_seconds.value,
        f"{name}_sound_within_one_frame": heard.within_one_frame.value,
        f"{name}_chance_within_one_frame": chance.within_one_frame.value,
        f"{name}_chance_median_abs_ms": 1000 * chance.median_abs_seconds,
        f"{name}_p_value": chance.p_value,
    }
