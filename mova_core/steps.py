"""The lineage as a table: every step once, with what runs it, what it reads and what it writes.

The command line, dvc.yaml and the Dagster assets are held to this table by a test; none adds logic of its own.
"""

from __future__ import annotations

import errno
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mova_core.config import Config, save_config
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.workspace import Workspace

PHASES = ("audio", "joint1", "joint2", "joint3")


@dataclass(frozen=True)
class Step:
    """One step of the lineage.

    Attributes
    ----------
    name : the DVC stage's and the Dagster asset's name.
    verb : the `mova` verb; `arguments` are its fixed options.
    target : ``module:function``; called as ``function(config, workspace, **arguments)``, and with ``collection=`` for a
        step that runs once a collection.
    reads : the steps whose outputs this one reads.
    outputs : folders written, relative to the workspace; ``{collection}`` stands for the collection.
    sections : the configuration sections the result depends on, dotted where a part of one is enough.
    """

    name: str
    verb: str
    target: str
    summary: str
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    sections: tuple[str, ...]
    per_collection: bool = False
    arguments: dict[str, str] = field(default_factory=dict)


def _train(phase: str, before: tuple[str, ...], summary: str) -> Step:
    return Step(
        name=f"train_{phase}",
        verb="train",
        target="mova_core.training.step:run",
        summary=summary,
        reads=("encode", *before),
        outputs=(f"data/runs/{phase}",),
        sections=("seed", "media", "model", "train.optimizer", "train.validation", f"train.phases.{phase}"),
        arguments={"phase": phase},
    )


STEPS: tuple[Step, ...] = (
    Step(
        name="corpus",
        verb="corpus",
        target="mova_core.curation.corpus.step:run",
        summary="Render the labelled demo corpus and lay real footage beside it.",
        reads=(),
        outputs=("data/raw/demo", "data/raw/footage"),
        sections=("seed", "media", "corpus"),
    ),
    Step(
        name="ingest",
        verb="ingest",
        target="mova_core.curation.ingest:run",
        summary="Probe and hash raw files; find duplicates; reject what does not decode or has no sound.",
        reads=("corpus",),
        outputs=("data/ingest/{collection}",),
        sections=("ingest",),
        per_collection=True,
    ),
    Step(
        name="curate",
        verb="curate",
        target="mova_core.curation.curate:run",
        summary="Cut sources into fixed clips, score them, gate them.",
        reads=("ingest",),
        outputs=("data/clips/{collection}",),
        sections=("seed", "media", "curate"),
        per_collection=True,
    ),
    Step(
        name="caption",
        verb="caption",
        target="mova_core.curation.caption:run",
        summary="Describe each clip: visual, speech, sound, music, and the merged prompt.",
        reads=("curate",),
        outputs=("data/captions/{collection}",),
        sections=("seed", "caption"),
        per_collection=True,
    ),
    Step(
        name="encode",
        verb="encode",
        target="mova_core.codecs.step:run",
        summary="Fit or load the codecs and the text encoder; cache latents and text embeddings in shards.",
        reads=("curate", "caption"),
        outputs=("data/latents",),
        sections=("seed", "collections", "media", "encode"),
    ),
    _train("audio", (), "Phase 0: the audio tower alone, text to audio."),
    _train("joint1", ("train_audio",), "Phase 1: both towers and a fresh Bridge."),
    _train("joint2", ("train_joint1",), "Phase 2: quality-filtered clips, equal shifts, levelled loudness."),
    _train("joint3", ("train_joint2",), "Phase 3: twice the resolution."),
    Step(
        name="sample",
        verb="sample",
        target="mova_core.inference.step:run",
        summary="Generate video with sound for held-out prompts and first frames.",
        reads=("curate", "encode", "train_joint2", "train_joint3"),
        outputs=("data/samples",),
        sections=("seed", "media", "encode", "model", "sample"),
    ),
    Step(
        name="evaluate",
        verb="evaluate",
        target="mova_core.evaluation.step:run",
        summary="Measure losses, synchrony and loudness on held-out clips; write the report.",
        reads=("curate", "encode", "train_audio", "train_joint1", "train_joint2", "train_joint3", "sample"),
        outputs=("data/evaluation",),
        sections=("seed", "media", "encode", "model", "train", "sample", "evaluate"),
    ),
    Step(
        name="release",
        verb="release",
        target="mova_core.release.step:run",
        summary="Write the release folder, reload it and sample once to verify it.",
        reads=("encode", "train_joint3", "sample", "evaluate"),
        outputs=("data/release",),
        sections=("seed", "media", "encode", "model", "sample", "release"),
    ),
)


def step_named(name: str) -> Step:
    """The step of that name.

    Raises
    ------
    UserError : if there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise UserError(f"no step named {name!r}", expected=f"one of {', '.join(s.name for s in STEPS)}", remedy="use one")


def run_step(step: Step, config: Config, workspace: Workspace, collection: str | None = None) -> StageReport:
    """Runs one step and stores its report and the resolved configuration under data/reports.

    Raises
    ------
    UserError : if `collection` is given to a step that runs once for all, or missing for one that needs it; and
        whatever the step itself raises.
    OSError : if an output cannot be written, before any work.
    """
    if step.per_collection != (collection is not None):
        raise UserError(
            f"step {step.name} was given collection {collection!r}",
            expected="a collection" if step.per_collection else "none: it reads them all",
            remedy=f"run `mova {step.verb} --help`",
        )
    scope = {**step.arguments, **({"collection": collection} if collection is not None else {})}
    for folder in (workspace.reports, *output_paths(step, workspace, collection)):
        _check_writable(folder)
    started = time.monotonic()
    report = _function(step)(config, workspace, **scope).timed(time.monotonic() - started)
    path = report_path(step, workspace, collection)
    report.save(path)
    save_config(config, path.with_suffix(".params.yaml"))
    return report


def report_path(step: Step, workspace: Workspace, collection: str | None = None) -> Path:
    """Where `run_step` stores the step's report."""
    stem = step.name if collection is None else f"{step.name}-{collection}"
    return workspace.reports / f"{stem}.json"


def output_paths(step: Step, workspace: Workspace, collection: str | None = None) -> list[Path]:
    """The folders that a step writes."""
    return [workspace.root / output.format(collection=collection) for output in step.outputs]


def _check_writable(folder: Path) -> None:
    """Asks the folder, or of those above it the first that is there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def _function(step: Step) -> Callable[..., StageReport]:
    module_name, function_name = step.target.split(":")
    function: Callable[..., StageReport] = getattr(importlib.import_module(module_name), function_name)
    return function
