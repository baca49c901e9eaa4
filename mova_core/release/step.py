"""The step `release`: build the folder aside, check it, load it and sample once from it, then give it its name.

What has the name data/release was therefore verified, byte by byte and by use.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mova_core.config import Config
from mova_core.data.manifest import read_manifest
from mova_core.data.records import LatentRow, Sample
from mova_core.errors import UserError
from mova_core.files import flush_to_disk
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.defaults import Defaults, defaults_of
from mova_core.inference.held_out import MANIFEST_FILE
from mova_core.inference.inputs import fit_frame
from mova_core.inference.sample_set import one_of_each_label
from mova_core.inference.shape import check_shape
from mova_core.inference.step import checkpoint_of
from mova_core.progress import say
from mova_core.release.build import DEMO_CLIP, SHEET_FILE, Contents, Demo, build, first_frame_of
from mova_core.release.checksums import files_of
from mova_core.release.publish import publication
from mova_core.release.verify import verify_release
from mova_core.report import StageReport
from mova_core.versioning.lineage import Lineage, stamp
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    from mova_core.inference.pipeline import MovaPipeline

PHASE = "joint3"
METRICS_FILE = "metrics.json"
ASIDE, REPLACED = ".release.building", ".release.replaced"
SECTIONS = ("seed", "media", "encode", "model", "sample", "release")


def run(config: Config, workspace: Workspace) -> StageReport:
    """Builds, verifies and names the release; one that is there and whole, of the same inputs, is left as it is.

    Raises
    ------
    UserError : if the checkpoint, the evaluation or the samples are missing, or the folder does not verify.
    """
    checkpoint = checkpoint_of(PHASE, workspace)
    check_shape(config, checkpoint, PHASE)
    metrics = read_metrics(workspace)
    samples = _samples(config, workspace)
    aside = workspace.release.with_name(ASIDE)
    _tidy(aside, workspace.release)
    inputs = _inputs(config, workspace, checkpoint)
    lineage = stamp(config, workspace.root, inputs, SECTIONS)
    published = publication(config, workspace, lineage)
    if _stands(workspace.release, lineage):
        say("release: the folder is whole and of these inputs already")
        return _report(workspace, ("The release was there already, and whole.", published.finish(workspace)))
    lineage = dataclasses.replace(lineage, lakefs_commit=published.data_commit)
    _make(config, workspace, checkpoint, metrics, samples, lineage, aside)
    _give_name(aside, workspace.release)
    notes = ("The folder was checked byte by byte, loaded, and its demo clip equals the checkpoint's bit for bit.",)
    return _report(workspace, (*notes, published.finish(workspace)))


def read_metrics(workspace: Workspace) -> dict[str, float]:
    """The evaluation's figures.

    Raises
    ------
    UserError : if there was no evaluation.
    """
    path = workspace.evaluation / METRICS_FILE
    try:
        metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"no readable evaluation at {path} ({type(error).__name__})",
            expected="the figures that the model card states",
            remedy="run `mova evaluate` first",
        ) from error
    return metrics


def _samples(config: Config, workspace: Workspace) -> list[Sample]:
    """The rows of the set that the release shows."""
    name = config.release.sample_set
    fitting = [entry.name for entry in config.sample.sets if entry.phase == PHASE and entry.bridge]
    if name not in fitting:
        raise UserError(
            f"release.sample_set is {name!r}",
            expected=f"a set of phase {PHASE} with the Bridge on ({', '.join(fitting) or 'sample.sets has none'})",
            remedy="mend it in params.yaml",
        )
    path = workspace.samples / name / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"no samples at {path}", expected=f"the set {name}", remedy="run `mova sample` first")
    return read_manifest(path, Sample)


def _inputs(config: Config, workspace: Workspace, checkpoint: Path) -> list[Path]:
    weights = sorted(checkpoint.rglob("*.safetensors"))
    codecs = sorted(workspace.codecs.rglob("*.safetensors"))
    samples = workspace.samples / config.release.sample_set / MANIFEST_FILE
    return [*weights, *codecs, workspace.latents / MANIFEST_FILE, samples, workspace.evaluation / METRICS_FILE]


def _stands(folder: Path, lineage: Lineage) -> bool:
    """Whether the release in `folder` is whole and has that lineage, wherever lakeFS put its data."""
    try:
        found = Lineage.load(folder)
    except UserError:  # none there, or damaged: it is made again
        return False
    return dataclasses.replace(found, lakefs_commit="") == lineage and not verify_release(folder)


def _make(
    config: Config,
    workspace: Workspace,
    checkpoint: Path,
    metrics: dict[str, float],
    samples: list[Sample],
    lineage: Lineage,
    folder: Path,
) -> None:
    """Builds the release in `folder` and verifies it there."""
    from mova_core.inference.pipeline import MovaPipeline
    from mova_core.models.build import resolve_compute_dtype

    defaults = defaults_of(config, PHASE)
    compute_dtype = resolve_compute_dtype(defaults.compute_dtype)
    samples_folder = workspace.samples / config.release.sample_set
    say("release: sampling once from the checkpoint")
    source = MovaPipeline.from_pretrained(checkpoint, workspace.codecs, compute_dtype=compute_dtype)
    demo = make_demo(source, samples[0], first_frame_of(samples_folder / samples[0].path), defaults)
    contents = Contents(
        config=config,
        checkpoint=checkpoint,
        codecs=workspace.codecs,
        metrics=metrics,
        rows=read_manifest(workspace.latents / MANIFEST_FILE, LatentRow),
        samples=one_of_each_label(samples, config.release.num_thumbnails),
        samples_folder=samples_folder,
        parameters={name: sum(p.numel() for p in part.parameters()) for name, part in source.model.named_children()},
        defaults=defaults,
        lineage=lineage,
        demo=demo,
        sample_rate_hz=source.codecs.audio.sample_rate_hz,
    )
    say("release: writing the folder")
    build(folder, contents)
    say("release: checking it, loading it and sampling once from it")
    problems = verify_release(folder)
    again = make_demo(
        MovaPipeline.from_pretrained(folder, compute_dtype=compute_dtype), samples[0], demo.first_frame, defaults
    )
    if not (np.array_equal(again.frames, demo.frames) and np.array_equal(again.waveform, demo.waveform)):
        problems.append("a sample from it differs from the same sample from the checkpoint")
    if problems:
        raise UserError(
            f"the release in {folder} does not verify ({'; '.join(problems)})",
            expected="the bytes just written, and the checkpoint's own behaviour",
            remedy="check the disk and run `mova release` again; data/release was left as it was",
        )


def make_demo(pipeline: MovaPipeline, sample: Sample, picture: NDArray[np.uint8], defaults: Defaults) -> Demo:
    """The demo clip: a sample's prompt, seed and first picture, generated alone."""
    settings = defaults.settings
    given = fit_frame(picture, settings.height, settings.width)
    output = pipeline.run(ClipInputs([sample.prompt], [sample.seed], first_frames=given[None]), settings)
    return Demo(sample.prompt, sample.seed, given, output.frames[0], output.audio[0])


def _tidy(aside: Path, folder: Path) -> None:
    """Clears away what a killed run left; if it was killed between two names, the release before gets its name back."""
    replaced = folder.with_name(REPLACED)
    if replaced.is_dir() and not folder.is_dir():
        replaced.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


def _give_name(aside: Path, folder: Path) -> None:
    """Gives a finished folder its name; the one before goes."""
    replaced = folder.with_name(REPLACED)
    if folder.is_dir():
        folder.rename(replaced)
    aside.rename(folder)
    flush_to_disk(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _report(workspace: Workspace, notes: tuple[str, ...]) -> StageReport:
    folder = workspace.release
    names = files_of(folder)
    relative = folder.relative_to(workspace.root).as_posix()
    return StageReport(
        step="release",
        rows_in=len(names),
        rows_out=len(names),
        metrics={"files": len(names), "mebibytes": round(sum((folder / n).stat().st_size for n in names) / 2**20, 1)},
        previews=(f"{relative}/{SHEET_FILE}", f"{relative}/{DEMO_CLIP}"),
        outputs=(relative,),
        notes=notes,
    )
