"""The step `sample`: every set of the configuration, from the checkpoints, on the same held-out clips and seeds.

A set is generated batch by batch; a run that was stopped goes on with the batches that lack a clip, and ends with the
same bytes. What is finished is found so before torch is loaded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mova_core.config import Config
from mova_core.config.sampling import SampleSet
from mova_core.errors import UserError
from mova_core.files import content_id, sha256_of_file
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.held_out import MANIFEST_FILE, HeldOut, held_out_clips
from mova_core.inference.inputs import Settings
from mova_core.inference.sample_set import SetFolder
from mova_core.inference.shape import check_shape
from mova_core.progress import say, track
from mova_core.report import StageReport
from mova_core.versioning.lineage import stamp
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from mova_core.codecs.base import Codecs
    from mova_core.inference.pipeline import MovaPipeline

SAMPLING_VERSION = 1
"""Raised when the same recipe would give other clips."""
SECTIONS = ("seed", "media", "encode", "model", "sample")
"""What the clips depend on, besides the checkpoints."""


@dataclass(frozen=True)
class Work:
    """One batch that is still to be generated."""

    folder: SetFolder
    clips: list[HeldOut]


def run(config: Config, workspace: Workspace) -> StageReport:
    """Generates the sets that are not finished.

    Raises
    ------
    UserError : if latents, clips or a checkpoint are missing, or do not fit each other.
    """
    for phase in dict.fromkeys(entry.phase for entry in config.sample.sets):
        check_shape(config, checkpoint_of(phase, workspace), phase)
    clips = held_out_clips(config, workspace)
    folders = set_folders(config, workspace, clips)
    unfinished = [folder for folder in folders if not folder.is_finished()]
    num_generated, started = 0, time.monotonic()
    if unfinished:
        num_generated = _generate(config, workspace, unfinished)
    seconds = time.monotonic() - started
    return StageReport(
        step="sample",
        rows_in=len(clips) * len(folders),
        rows_out=sum(len(folder.rows()) for folder in folders),
        metrics={"clips_per_second": round(num_generated / seconds, 3)} if num_generated else {},
        previews=tuple(_relative(folder.sheet, workspace) for folder in folders),
        outputs=tuple(_relative(folder.path, workspace) for folder in folders),
        notes=(
            f"{num_generated} clips were generated, the other {len(clips) * len(folders) - num_generated} were there.",
            f"Every set holds the same {len(clips)} held-out clips, with the same seeds.",
        ),
    )


def set_folders(config: Config, workspace: Workspace, clips: list[HeldOut]) -> list[SetFolder]:
    """The sets of the configuration, each with its recipe.

    Raises
    ------
    UserError : if a checkpoint is missing.
    """
    codecs_hash = _folder_hash(workspace.codecs)
    return [
        SetFolder(
            path=workspace.samples / settings.name,
            settings=settings,
            sampling=config.sample,
            clips=clips,
            checkpoint=_relative(checkpoint_of(settings.phase, workspace), workspace),
            recipe={
                "version": SAMPLING_VERSION,
                "checkpoint": _folder_hash(checkpoint_of(settings.phase, workspace)),
                "codecs": codecs_hash,
                "set": settings.model_dump(mode="json"),
                "sampling": config.sample.model_dump(mode="json", exclude={"sets"}),
                "media": config.media.model_dump(mode="json"),
                "compute_dtype": config.model.compute_dtype,
                "clips": content_id(*itertools.chain(*((c.clip_id, c.label, c.prompt, c.seed) for c in clips))),
            },
        )
        for settings in config.sample.sets
    ]


def checkpoint_of(phase: str, workspace: Workspace) -> Path:
    """The checkpoint folder of a finished phase.

    Raises
    ------
    UserError : if it is missing.
    """
    folder = workspace.run(phase) / "checkpoint"
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"no checkpoint at {folder}",
            expected=f"the weights of phase {phase}",
            remedy=f"run `mova train --phase {phase}` first",
        )
    return folder


def settings_of(config: Config, sample_set: SampleSet) -> Settings:
    """How the clips of a set are generated."""
    return Settings(
        solver=config.sample.solver,
        num_steps=config.sample.num_steps,
        text_guidance=config.sample.text_guidance,
        bridge_guidance=config.sample.bridge_guidance,
        bridge=sample_set.bridge,
        height=sample_set.height,
        width=sample_set.width,
        num_frames=config.media.num_frames,
        fps=config.media.fps,
    )


def load_pipeline(config: Config, workspace: Workspace, phase: str, codecs: Codecs | None = None) -> MovaPipeline:
    """The pipeline of a phase's checkpoint with the codecs of the latents, on the GPU where there is one."""
    import torch

    from mova_core.inference.pipeline import MovaPipeline
    from mova_core.models.build import resolve_compute_dtype

    return MovaPipeline.from_pretrained(
        checkpoint_of(phase, workspace),
        workspace.codecs,
        codecs=codecs,
        device="cuda" if torch.cuda.is_available() else "cpu",
        compute_dtype=resolve_compute_dtype(config.model.compute_dtype),
        kernels=config.model.kernels,
    )


def _generate(config: Config, workspace: Workspace, folders: list[SetFolder]) -> int:
    """Generates what `folders` lack, one checkpoint at a time; returns the number of clips."""
    for folder in folders:
        folder.begin()
        folder.manifest.unlink(missing_ok=True)  # what it describes is about to change
    work = [Work(folder, batch) for folder in folders for batch in folder.pending()]
    num_clips = sum(len(item.clips) for item in work)
    say(f"generating {num_clips} clips in {len(folders)} sets")
    for _ in track(_generated(config, workspace, work), "sample", num_clips):
        pass
    for folder in folders:
        folder.write_sheet()
        stamp(config, workspace.root, _inputs(config, workspace, folder.settings.phase), SECTIONS).save(folder.path)
        folder.finish()
    return num_clips


def _generated(config: Config, workspace: Workspace, work: list[Work]) -> Iterator[HeldOut]:
    """Yields each clip once it is on the disk."""
    codecs: Codecs | None = None
    texts: tuple[torch.Tensor, torch.Tensor | None] | None = None
    clips = work[0].folder.clips if work else ()
    rows = {clip.clip_id: index for index, clip in enumerate(clips)}
    for phase, items in itertools.groupby(work, key=lambda item: item.folder.settings.phase):
        pipeline = load_pipeline(config, workspace, phase, codecs)
        codecs = pipeline.codecs
        if texts is None:
            texts = pipeline.encode_texts([clip.prompt for clip in clips])
        for item in items:
            settings = settings_of(config, item.folder.settings)
            given = np.stack([clip.first_frame(settings.height, settings.width) for clip in item.clips])
            seeds = [clip.seed for clip in item.clips]
            inputs = ClipInputs([clip.prompt for clip in item.clips], seeds, first_frames=given)
            pipeline.check(inputs, settings)
            chosen = [rows[clip.clip_id] for clip in item.clips]
            frames, waveforms = pipeline.generate_batch(texts[0][chosen], texts[1], inputs, settings)
            item.folder.write(item.clips, frames, waveforms, settings.fps, codecs.audio.sample_rate_hz)
            yield from item.clips


def _inputs(config: Config, workspace: Workspace, phase: str) -> list[Path]:
    """The files that identify a set's data and weights."""
    manifests = [workspace.clips(name) / MANIFEST_FILE for name in config.collections]
    weights = sorted(checkpoint_of(phase, workspace).rglob("*.safetensors"))
    return [*manifests, workspace.latents / MANIFEST_FILE, *weights]


def _folder_hash(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_id(*(f"{path.relative_to(folder).as_posix()}={sha256_of_file(path)}" for path in files))


def _relative(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix()
