"""What `encode` has to do, worked out before it does anything: which clip goes where, under which fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mova_core.codecs.fitting import codecs_fingerprint, needs_fit
from mova_core.codecs.reading import ClipTask
from mova_core.config import Config
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Caption, Clip, LatentRow
from mova_core.errors import UserError
from mova_core.files import content_id
from mova_core.workspace import Workspace

Item = TypeVar("Item")

MANIFEST_FILE = "manifest.parquet"
NULL_PROMPT = ""


@dataclass(frozen=True)
class CaptionedClip:
    """A clip with its prompt; `path` is its file, of `size_bytes`."""

    clip: Clip
    prompt: str
    path: Path
    size_bytes: int

    @property
    def identity(self) -> str:
        """Equal as long as the clip's latents are: its id, its file's size, the loudness that levelling goes by."""
        return f"{self.clip.clip_id} {self.size_bytes} {self.clip.loudness_lufs!r}"

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


@dataclass(frozen=True)
class Plan:
    """Everything `encode` makes.

    Attributes
    ----------
    clips : in the order of (collection, clip id).
    fit_clips : training clips that codecs are fitted on; none where nothing is fitted.
    quality_clips : held-out clips on which quality is measured; training clips where none is held out.
    prompts : the null prompt, then every other one once.
    shards : of the clips.
    codecs_fingerprint, text_fingerprint, quality_fingerprint : of the codecs, the table of prompts, the figures.
    """

    clips: tuple[CaptionedClip, ...]
    fit_clips: tuple[CaptionedClip, ...]
    quality_clips: tuple[CaptionedClip, ...]
    prompts: tuple[str, ...]
    shards: tuple[Shard, ...]
    codecs_fingerprint: str
    text_fingerprint: str
    quality_fingerprint: str

    def rows(self) -> list[LatentRow]:
        """The manifest: one row a clip, in the order of the shards."""
        text_rows = {prompt: row for row, prompt in enumerate(self.prompts)}
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
            for shard in self.shards
            for row, item in enumerate(shard.clips)
        ]


def make_plan(config: Config, workspace: Workspace) -> Plan:
    """Reads the manifests of all collections and works out what to encode.

    Raises
    ------
    UserError : if a manifest is absent, a clip has no caption or no file, clips are of another form than the
        configuration's, there is none at all, or a resolution is larger than the clips.
    """
    _check_resolutions(config)
    clips = _captioned_clips(config, workspace)
    train = [item for item in clips if item.clip.split == "train"]
    held_out = [item for item in clips if item.clip.split != "train"]
    fit_clips = _spread_evenly(train, config.encode.fit_clips) if needs_fit(config.encode) else ()
    quality_clips = _spread_evenly(held_out or clips, config.encode.quality_clips)
    prompts = (NULL_PROMPT, *sorted({item.prompt for item in clips} - {NULL_PROMPT}))
    of_codecs = codecs_fingerprint(config, workspace, [item.identity for item in fit_clips])
    of_text = content_id(of_codecs, *prompts)
    return Plan(
        clips=tuple(clips),
        fit_clips=fit_clips,
        quality_clips=quality_clips,
        prompts=prompts,
        shards=tuple(_shards(config, clips, of_codecs)),
        codecs_fingerprint=of_codecs,
        text_fingerprint=of_text,
        quality_fingerprint=content_id(of_text, *(item.identity for item in quality_clips)),
    )


def _shards(config: Config, clips: Sequence[CaptionedClip], codecs_fingerprint: str) -> list[Shard]:
    """Cuts every collection into shards of `encode.clips_per_shard` clips; none holds two collections."""
    shards = []
    for collection in dict.fromkeys(item.clip.collection for item in clips):
        members = [item for item in clips if item.clip.collection == collection]
        for number, start in enumerate(range(0, len(members), config.encode.clips_per_shard)):
            chosen = tuple(members[start : start + config.encode.clips_per_shard])
            settings = (codecs_fingerprint, config.encode.resolutions, config.encode.loudness_lufs)
            fingerprint = content_id(*settings, *(item.identity for item in chosen))
            shards.append(Shard(f"{collection}-{number:05}.safetensors", chosen, fingerprint))
    return shards


def _spread_evenly(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """At most `count` of `items`, at even distances, in order."""
    count = min(count, len(items))
    return tuple(items[index * len(items) // count] for index in range(count))


def _captioned_clips(config: Config, workspace: Workspace) -> list[CaptionedClip]:
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


def _check_resolutions(config: Config) -> None:
    for height, width in config.encode.resolutions:
        if height > config.media.height or width > config.media.width:
            raise UserError(
                f"encode.resolutions holds {height}x{width}",
                expected=f"at most the clips' own {config.media.height}x{config.media.width}",
                remedy="lower it, or raise media.height and media.width and curate again",
            )
