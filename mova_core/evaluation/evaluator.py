"""One run of the evaluation: measures every set of clips, the codecs, the detectors and the checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mova_core.codecs.arrays import audio_tensor, video_array, video_tensor
from mova_core.codecs.base import AUDIO_FOLDER, VIDEO_FOLDER, load_audio_codec, load_video_codec
from mova_core.codecs.quality import decibels
from mova_core.codecs.reading import area_resized
from mova_core.config import Config
from mova_core.config.training import JointPhaseConfig
from mova_core.data.shards import STORED_DTYPE, LatentStore
from mova_core.evaluation.audible import Waveform
from mova_core.evaluation.examples import Cell, Column, Grid, make_cell, spread_over_labels
from mova_core.evaluation.history import read_history
from mova_core.evaluation.inputs import GeneratedSet, HeldOut
from mova_core.evaluation.losses import phase_loss
from mova_core.evaluation.measuring import (
    ClipFile,
    ClipMeasures,
    detector_errors,
    measure_arrays,
    measure_file,
    read_whole,
    set_result,
)
from mova_core.evaluation.results import CodecQuality, Evaluation, History, PhaseLoss, SetKind, SetResult
from mova_core.evaluation.visible import DETECTORS, Frames
from mova_core.inference.shape import check_shape
from mova_core.inference.step import checkpoint_of
from mova_core.progress import track
from mova_core.workers import available_cores, map_in_order, process_pool
from mova_core.workspace import Workspace

PHASES = ("audio", "joint1", "joint2", "joint3")
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class _Task:
    """A clip to measure for the set of that name; decoded already, or to be read by the worker."""

    set_name: str
    clip: ClipFile
    decoded: tuple[Frames, Waveform] | None = None


def _measure(task: _Task) -> ClipMeasures:
    """Runs in a worker process."""
    return measure_file(task.clip) if task.decoded is None else measure_arrays(task.clip, *task.decoded)


class Evaluator:
    """What a run reads, and what it has found so far.

    Raises
    ------
    UserError : if codecs, clips, latents or a checkpoint are absent or unfit, here or in `evaluation`.
    """

    def __init__(self, config: Config, workspace: Workspace, sets: tuple[GeneratedSet, ...], real: HeldOut) -> None:
        self.config = config
        self.workspace = workspace
        self.sets = sets
        self.real = real
        for phase in self._phases():  # before hours of measuring
            check_shape(config, self._checkpoint(phase), phase)
        # Without the text encoder, whose library takes longer to load than all clips take to measure.
        self._video_codec = load_video_codec(workspace.codecs / VIDEO_FOLDER)
        self._audio_codec = load_audio_codec(workspace.codecs / AUDIO_FOLDER)
        self.resolutions = sorted({entry.resolution for entry in sets})
        self.measures: dict[str, list[ClipMeasures]] = {}
        self._pixel_errors: dict[tuple[int, int], list[float]] = {resolution: [] for resolution in self.resolutions}
        self._sound_powers: list[tuple[float, float]] = []

    def evaluation(self) -> Evaluation:
        """Measures everything."""
        self._measure_clips()
        return Evaluation(
            fps=self.config.media.fps,
            sets=tuple(self._set_results()),
            detectors=tuple(detector_errors(self.measures["real"], self.real.truths, self.config.media.fps)),
            codecs=tuple(self._codec_quality()),
            losses=tuple(self._losses()),
            history=tuple(self._history()),
        )

    def remarks(self) -> list[str]:
        """What a reader of this run's figures should know."""
        left_out = [clip for clip in self.real.clips if clip.label not in DETECTORS]
        remarks = []
        if left_out:
            names = ", ".join(sorted({clip.label or "unlabelled" for clip in left_out}))
            remarks.append(
                f"{len(left_out)} of {len(self.real.clips)} held-out clips count in no figure of synchrony: "
                f"their events have no detector ({names})."
            )
        return remarks

    def inputs(self) -> list[Path]:
        """The files that the figures depend on."""
        weights = [path for phase in self._phases() for path in sorted(self._checkpoint(phase).rglob("*.safetensors"))]
        manifests = [entry.manifest for entry in self.sets] + list(self.real.manifests)
        return [*manifests, *weights, *sorted(self.workspace.codecs.rglob("*.safetensors"))]

    def grid(self) -> Grid:
        """The clips that the report shows."""
        settings = self.config.evaluate
        labels = {clip.clip_id: clip.label for clip in self.real.clips if clip.label in DETECTORS}
        chosen = spread_over_labels(labels, settings.num_report_clips)
        prompts = {sample.clip_id: sample.prompt for entry in self.sets for sample in entry.samples}
        columns = [self._column("real", "real", "real", self.real.clips, chosen)]
        for entry in self.sets:
            title = f"{entry.settings.phase}{'' if entry.settings.bridge else ', Bridge off'}"
            columns.append(self._column(title, entry.kind, entry.settings.name, entry.clips, chosen))
        return Grid(
            tuple(labels[clip_id] for clip_id in chosen), tuple(prompts[clip_id] for clip_id in chosen), tuple(columns)
        )

    def _column(self, title: str, kind: SetKind, name: str, clips: Sequence[ClipFile], chosen: Sequence[str]) -> Column:
        files = {clip.clip_id: clip for clip in clips}
        events = {measured.clip_id: measured.events for measured in self.measures[name]}
        cells: list[Cell | None] = []
        for clip_id in chosen:
            clip = files.get(clip_id)
            if clip is None:
                cells.append(None)
                continue
            frames, waveform = read_whole(clip.path)
            pixels = self.config.evaluate.report_clip_pixels
            cells.append(make_cell(frames, waveform, events[clip_id], clip.fps, clip.sample_rate_hz, pixels))
        return Column(title, kind, tuple(cells))

    def _measure_clips(self) -> None:
        """Fills `measures` and the codecs' errors, on all cores."""
        num_workers = available_cores()
        num_tasks = sum(len(entry.clips) for entry in self.sets) + len(self.real.clips) * (1 + len(self.resolutions))
        names: list[str] = []

        def tasks() -> Iterator[_Task]:
            for task in self._tasks():
                names.append(task.set_name)
                yield task

        with process_pool(num_workers) as pool:
            found = map_in_order(pool, num_workers, _measure, tasks())
            for index, measured in enumerate(track(found, "evaluate: clips", total=num_tasks)):
                self.measures.setdefault(names[index], []).append(measured)

    def _tasks(self) -> Iterator[_Task]:
        for entry in self.sets:
            for clip in entry.clips:
                yield _Task(entry.settings.name, clip)
        for clip in self.real.clips:
            frames, waveform = read_whole(clip.path)
            yield _Task("real", clip, (frames, waveform))
            for resolution in self.resolutions:
                yield _Task(_codec_name(resolution), clip, self._through_codecs(frames, waveform, resolution))

    def _through_codecs(
        self, frames: Frames, waveform: Waveform, resolution: tuple[int, int]
    ) -> tuple[Frames, Waveform]:
        """A real clip as it comes back from latents of the shards' precision; notes what was lost."""
        small = area_resized(frames, resolution)
        seen = self._video_codec.encode(video_tensor(small[None])).to(STORED_DTYPE).float()
        heard = self._audio_codec.encode(audio_tensor(waveform[None])).to(STORED_DTYPE).float()
        picture = video_array(self._video_codec.decode(seen))[0]
        sound: Waveform = self._audio_codec.decode(heard)[0, 0, : len(waveform)].numpy()
        self._pixel_errors[resolution].append(float(np.mean((small.astype(np.float32) - picture) ** 2)))
        self._sound_powers.append((float(np.mean(waveform**2)), float(np.mean((waveform - sound) ** 2))))
        return picture, sound

    def _set_results(self) -> Iterator[SetResult]:
        for entry in self.sets:
            yield self._set_result(entry.settings.name, entry.kind, entry.settings.phase, entry.resolution)
        for resolution in self.resolutions:
            yield self._set_result(_codec_name(resolution), "codec", "", resolution)
        yield self._set_result("real", "real", "", (self.config.media.height, self.config.media.width))

    def _set_result(self, name: str, kind: SetKind, phase: str, resolution: tuple[int, int]) -> SetResult:
        return set_result(
            self.measures[name],
            name=name,
            kind=kind,
            phase=phase,
            height=resolution[0],
            width=resolution[1],
            fps=self.config.media.fps,
            seed=self.config.seed,
        )

    def _codec_quality(self) -> Iterator[CodecQuality]:
        powers = np.array(self._sound_powers)
        snr = decibels(float(powers[:, 0].mean()), float(powers[:, 1].mean()))
        for resolution, errors in self._pixel_errors.items():
            psnr = decibels(255.0**2, float(np.mean(errors)))
            yield CodecQuality(resolution[0], resolution[1], psnr, snr)

    def _losses(self) -> Iterator[PhaseLoss]:
        settings = self.config.evaluate
        store = LatentStore(self.workspace.latents)
        for phase in track(settings.loss_phases, "evaluate: held-out losses"):
            trained = self.config.train.phase(phase)
            assert isinstance(trained, JointPhaseConfig)
            rows = store.indices(split="val", phase=phase)[: settings.num_loss_clips]
            yield phase_loss(
                phase,
                self._checkpoint(phase),
                store,
                rows,
                resolution=(trained.height, trained.width),
                loudness_normalised=trained.loudness_normalised,
                num_draws=settings.num_loss_draws,
                video_fps=self.config.media.fps,
                seed=self.config.seed,
            )

    def _history(self) -> list[History]:
        found = [read_history(phase, self.workspace.run(phase) / METRICS_FILE) for phase in PHASES]
        return [entry for entry in found if entry is not None]

    def _phases(self) -> list[str]:
        """The phases whose checkpoints count."""
        return sorted({entry.settings.phase for entry in self.sets} | set(self.config.evaluate.loss_phases))

    def _checkpoint(self, phase: str) -> Path:
        return checkpoint_of(phase, self.workspace)


def _codec_name(resolution: tuple[int, int]) -> str:
    return f"codec_{resolution[1]}x{resolution[0]}"
