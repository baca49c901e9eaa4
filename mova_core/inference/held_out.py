"""Which held-out clips are sampled: in the proportions of their labels, the same ones for every set. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mova_core.config import Config
from mova_core.data.manifest import read_manifest
from mova_core.data.media import MediaError, iter_frames
from mova_core.data.records import Clip, LatentRow
from mova_core.errors import UserError
from mova_core.files import content_id
from mova_core.inference.inputs import MAX_SEED, Pixels, fit_frame
from mova_core.workspace import Workspace

MANIFEST_FILE = "manifest.parquet"
SEVERAL_LABELS = "+"  # joins the labels of a clip of several shots


@dataclass(frozen=True)
class HeldOut:
    """A held-out clip, and the seed that every set gives it."""

    clip_id: str
    label: str
    prompt: str
    path: Path
    seed: int

    def first_frame(self, height: int, width: int) -> Pixels:
        """Its first frame ``[height, width, 3]``.

        Raises
        ------
        UserError : if the clip is absent or does not decode.
        """
        try:
            return fit_frame(next(iter_frames(self.path)).pixels, height, width)
        except (MediaError, OSError, StopIteration) as error:
            raise UserError(
                f"{self.path} shows no first frame ({error})",
                expected="the clip that its manifest row describes",
                remedy="delete data/clips and run `mova curate` again",
            ) from error


def held_out_clips(config: Config, workspace: Workspace) -> list[HeldOut]:
    """The clips to sample, sorted by id.

    Only clips of the validation split count that pass the gates of every sampled phase. Where the corpus states what
    clips show, those that show one thing are taken: synchrony cannot be measured against several labels or none.

    Raises
    ------
    UserError : if the latents are missing, there is no such clip, or a clip is in no collection any more.
    """
    phases = {entry.phase for entry in config.sample.sets}
    rows = [
        row
        for row in read_manifest(workspace.latents / MANIFEST_FILE, LatentRow)
        if row.split == "val" and phases.issubset(row.phases)
    ]
    rows = [row for row in rows if row.label and SEVERAL_LABELS not in row.label] or rows
    if not rows:
        raise UserError(
            "no held-out clip passes the gates of every sampled phase",
            expected="at least one clip of the split `val` in the latents",
            remedy="raise curate.val_fraction, or loosen curate.phase_gates, and run `mova curate` again",
        )
    paths = _clip_paths(config, workspace)
    chosen = stratified(rows, config.sample.num_clips, config.seed)
    missing = [row.clip_id for row in chosen if row.clip_id not in paths]
    if missing:
        raise UserError(
            f"{len(missing)} held-out clips are in no collection (first: {missing[0]})",
            expected="latents of the present clips",
            remedy="run `mova encode` again",
        )
    return [
        HeldOut(row.clip_id, row.label, row.caption, paths[row.clip_id], clip_seed(config.seed, row.clip_id))
        for row in chosen
    ]


def stratified(rows: Sequence[LatentRow], count: int, seed: int) -> list[LatentRow]:
    """At most `count` of `rows`, each label in its proportion (largest remainders), drawn by `seed`, sorted by id."""
    groups: dict[str, list[LatentRow]] = {}
    for row in sorted(rows, key=lambda row: content_id("held-out", seed, row.clip_id)):
        groups.setdefault(row.label, []).append(row)
    labels = sorted(groups)
    count = min(count, len(rows))
    shares = np.array([len(groups[label]) for label in labels]) * count / len(rows)
    quotas = np.floor(shares).astype(int)
    # Stable, so that of equal remainders the alphabet decides.
    for index in np.argsort(-(shares - quotas), kind="stable")[: count - quotas.sum()]:
        quotas[index] += 1
    chosen = [row for label, quota in zip(labels, quotas, strict=True) for row in groups[label][:quota]]
    return sorted(chosen, key=lambda row: row.clip_id)


def clip_seed(seed: int, clip_id: str) -> int:
    """The sampling seed of a clip: the same in every set."""
    return int(content_id("sample", seed, clip_id), 16) & MAX_SEED


def _clip_paths(config: Config, workspace: Workspace) -> dict[str, Path]:
    paths = {}
    for collection in config.collections:
        folder = workspace.clips(collection)
        paths.update({clip.clip_id: folder / clip.path for clip in read_manifest(folder / MANIFEST_FILE, Clip)})
    return paths
