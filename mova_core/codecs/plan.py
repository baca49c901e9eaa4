"""What `encode` has to do, worked out before it does anything: which clip goes where, under which fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mova_core.codecs.reading import ClipTask
from mova_core.config import Config
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Caption, Clip, LatentRow
from mova_core.errors import UserError
from mova_core.files import content_id
from mova_core.workspace import Workspace

MANIFEST_FILE = "manifest.parquet"
NULL_PROMPT = ""


@dataclass(frozen=True)
class CaptionedClip:
    """A clip with its prompt; `path` is its file, of `size_bytes`."""

    clip: Clip
    prompt: str
    path: Path
    size_bytes: int

    def task(self, config: Config) -> ClipTask:
        """What a worker needs to decode it."""
        return ClipTask(
            path=self.path,
            num_frames=self.clip.num_frames,
            height=self.clip.height,
            width=self.clip.width,
            num_samples=round(self.clip.num_frames / self.clip.fps * self.clip.sample_rate_hz),
            loudness_lufs=self.clip.loudness_lufs,
            wanted_lufs=config.encode.loudness_lufs,
            resolutions=config.encode.resolutions,
        )


@dataclass(frozen=True)
class Shard:
    """One file of latents: its name, the clips in row order, and the fingerprint of all it depends on."""

    name: str
    clips: tuple[CaptionedClip, ...]
    fingerprint: str


def captioned_clips(config: Config, workspace: Workspace) -> list[CaptionedClip]:
    """The clips of all collections in the order of (collection, clip id), with their prompts.

    Raises
    ------
    UserError : if a manifest is absent, a clip has no caption or no file, clips are of another form than the
        configuration's, or there is none at all.
    """
    clips = [item for collection in sorted(set(config.collections)) for item in _of_collection(workspace, collection)]
    if not clips:
        raise UserError(
            f"no clip in any of the collections {', '.join(config.collections)}",
            expected="curated clips",
            remedy="look at data/clips/*/rejects.parquet for the reasons, or add videos",
        )
    for item in clips:
        _check_form(config, item.clip)
    return clips


def plan_shards(config: Config, clips: Sequence[CaptionedClip], codecs_fingerprint: str) -> list[Shard]:
    """Cuts every collection into shards of `encode.clips_per_shard` clips; none holds two collections."""
    shards = []
    for collection in dict.fromkeys(item.clip.collection for item in clips):
        members = [item for item in clips if item.clip.collection == collection]
        for number, start in enumerate(range(0, len(members), config.encode.clips_per_shard)):
            chosen = tuple(members[start : start + config.encode.clips_per_shard])
            identities = [f"{item.clip.clip_id} {item.size_bytes} {item.clip.loudness_lufs!r}" for item in chosen]
            settings = (codecs_fingerprint, config.encode.resolutions, config.encode.loudness_lufs)
            name = f"{collection}-{number:05}.safetensors"
            shards.append(Shard(name, chosen, content_id(*settings, *identities)))
    return shards


def unique_prompts(clips: Iterable[CaptionedClip]) -> list[str]:
    """The null prompt first, then every other prompt once, in alphabetical order."""
    return [NULL_PROMPT, *sorted({item.prompt for item in clips} - {NULL_PROMPT})]


def latent_rows(shards: Iterable[Shard], prompts: Sequence[str]) -> list[LatentRow]:
    """The manifest: one row a clip, in the order of the shards."""
    text_rows = {prompt: row for row, prompt in enumerate(prompts)}
    return [
        LatentRow(
            clip_id=item.clip.clip_id,
            collection=item.clip.collection,
            split=item.clip.split,
            label=item.clip.label,
            caption=item.prompt,
            shard=shard.name,
            row=row,
            text_row=text_rows[item.prompt],
            phases=list(item.clip.phases),
        )
        for shard in shards
        for row, item in enumerate(shard.clips)
    ]


def _of_collection(workspace: Workspace, collection: str) -> list[CaptionedClip]:
    folder = workspace.clips(collection)
    clips = read_manifest(folder / MANIFEST_FILE, Clip)
    captions = read_manifest(workspace.captions(collection) / MANIFEST_FILE, Caption)
    prompts = {caption.clip_id: caption.merged for caption in captions}
    return [_captioned(folder, clip, prompts) for clip in sorted(clips, key=lambda clip: clip.clip_id)]


def _captioned(folder: Path, clip: Clip, prompts: dict[str, str]) -> CaptionedClip:
    path = folder / clip.path
    if clip.clip_id not in prompts:
        raise UserError(
            f"clip {clip.clip_id} of {clip.collection} has no caption",
            expected="one for every clip",
            remedy=f"run `mova caption --collection {clip.collection}`",
        )
    if not path.is_file():
        raise UserError(
            f"no clip at {path}",
            expected="the file that its manifest row names",
            remedy=f"run `mova curate --collection {clip.collection}`",
        )
    return CaptionedClip(clip, prompts[clip.clip_id], path, path.stat().st_size)


def _check_form(config: Config, clip: Clip) -> None:
    media = config.media
    found = (clip.num_frames, clip.height, clip.width, clip.fps, clip.sample_rate_hz)
    wanted = (media.num_frames, media.height, media.width, media.fps, media.sample_rate_hz)
    if found != wanted:
        raise UserError(
            f"clip {clip.clip_id} of {clip.collection} has (frames, height, width, fps, Hz) {found}",
            expected=f"{wanted}, as the `media` section says",
            remedy="run `mova curate` and `mova caption` under this configuration",
        )
