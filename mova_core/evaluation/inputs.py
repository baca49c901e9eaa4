"""What the evaluation reads: the sample sets of the configuration and the held-out clips that they were made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mova_core.config import Config
from mova_core.config.sampling import SampleSet
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Clip, Sample
from mova_core.data.truth import Truth
from mova_core.errors import UserError
from mova_core.evaluation.measuring import ClipFile
from mova_core.evaluation.results import SetKind
from mova_core.workspace import Workspace

MANIFEST_FILE = "manifest.parquet"


@dataclass(frozen=True)
class GeneratedSet:
    """A sample set: its settings, its rows, and its clips in the rows' order."""

    settings: SampleSet
    samples: tuple[Sample, ...]
    clips: tuple[ClipFile, ...]
    manifest: Path

    @property
    def kind(self) -> SetKind:
        return "trained" if self.settings.bridge else "bridge_off"

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.settings.height, self.settings.width


@dataclass(frozen=True)
class HeldOut:
    """The real clips behind the samples, by id, and the truth of those that have one."""

    clips: tuple[ClipFile, ...]
    truths: dict[str, Truth]
    manifests: tuple[Path, ...]


def generated_sets(config: Config, workspace: Workspace) -> tuple[GeneratedSet, ...]:
    """Every set that the configuration names.

    Raises
    ------
    UserError : if a set has not been sampled, or holds no clip.
    """
    sets = []
    for settings in config.sample.sets:
        manifest = workspace.samples / settings.name / MANIFEST_FILE
        samples = read_manifest(manifest, Sample)
        if not samples:
            raise UserError(
                f"{manifest} has no rows", expected="at least one sample", remedy="delete it and run `mova sample`"
            )
        clips = [
            ClipFile(
                sample.clip_id,
                sample.label,
                manifest.parent / sample.path,
                config.media.fps,
                config.media.sample_rate_hz,
            )
            for sample in samples
        ]
        sets.append(GeneratedSet(settings, tuple(samples), tuple(clips), manifest))
    return tuple(sets)


def held_out_clips(config: Config, workspace: Workspace, clip_ids: Iterable[str]) -> HeldOut:
    """The real clips with those ids.

    Raises
    ------
    UserError : if one of them is in no collection any more: the samples were made from other clips.
    """
    manifests = [workspace.clips(collection) / MANIFEST_FILE for collection in config.collections]
    rows: dict[str, tuple[Clip, Path]] = {}
    for manifest in manifests:
        rows |= {clip.clip_id: (clip, manifest.parent) for clip in read_manifest(manifest, Clip)}
    wanted = sorted(set(clip_ids))
    missing = [clip_id for clip_id in wanted if clip_id not in rows]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(wanted)} sampled clips are in no collection (first: {missing[0]})",
            expected="samples made from the present clips",
            remedy="delete data/samples and run `mova sample` again",
        )
    chosen = [rows[clip_id] for clip_id in wanted]
    clips = tuple(
        ClipFile(clip.clip_id, clip.label, folder / clip.path, clip.fps, clip.sample_rate_hz) for clip, folder in chosen
    )
    truths = {clip.clip_id: Truth.from_json(clip.truth_json) for clip, _ in chosen if clip.truth_json}
    return HeldOut(clips, truths, tuple(manifests))
