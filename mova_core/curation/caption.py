"""`mova caption`: what each clip shows and sounds like, and the prompt made of it.

Reads data/clips/<collection>/; writes data/captions/<collection>/manifest.parquet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mova_core.config import Config
from mova_core.config.curation import CaptionConfig
from mova_core.curation.captioners import SILENT_RATIO, Captioner, CaptionParts, LabelsCaptioner, MeasuredCaptioner
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.records import Caption, Clip
from mova_core.progress import track
from mova_core.report import StageReport
from mova_core.workspace import Workspace

SOUND_PARTS = ("speech", "sound", "music")


def run(config: Config, workspace: Workspace, collection: str) -> StageReport:
    """Captions every clip of a collection."""
    clips = read_manifest(workspace.clips(collection) / "manifest.parquet", Clip)
    captioners = captioners_named(config.caption)
    captions = []
    conflicts: Counter[str] = Counter()
    for clip in track(clips, f"caption {collection}"):
        caption, found = caption_clip(clip, workspace.clips(collection) / clip.path, captioners)
        captions.append(caption)
        conflicts.update(found)
    folder = workspace.captions(collection)
    write_manifest(folder / "manifest.parquet", Caption, sorted(captions, key=lambda caption: caption.clip_id))
    by_whom = Counter(caption.captioner for caption in captions)
    return StageReport(
        step="caption",
        rows_in=len(clips),
        rows_out=len(captions),
        metrics={
            "distinct_prompts": float(len({caption.merged for caption in captions})),
            **{f"by_{name}": float(count) for name, count in sorted(by_whom.items())},
        },
        outputs=(str(folder.relative_to(workspace.root)),),
        notes=tuple(f"{count} parts left out of prompts: {conflict}" for conflict, count in sorted(conflicts.items())),
    )


def captioners_named(config: CaptionConfig) -> list[Captioner]:
    """The captioners to ask, in turn; the last one has an answer for every clip."""
    chosen: dict[str, Captioner] = {"labels": LabelsCaptioner()}
    return [chosen[config.captioner], MeasuredCaptioner()]


def caption_clip(clip: Clip, path: Path, captioners: Sequence[Captioner]) -> tuple[Caption, list[str]]:
    """The caption of the first captioner that knows the clip, and what the consistency check left out of its prompt."""
    for captioner in captioners:
        parts = captioner.describe(clip, path)
        if parts is not None:
            break
    else:
        raise ValueError(f"no captioner describes clip {clip.clip_id}; the last one asked has to")
    consistent, conflicts = checked(parts, clip)
    caption = Caption(
        clip_id=clip.clip_id,
        collection=clip.collection,
        visual=parts.visual,
        speech=parts.speech,
        sound=parts.sound,
        music=parts.music,
        merged=merged(consistent),
        captioner=captioner.name,
    )
    return caption, conflicts


def checked(parts: CaptionParts, clip: Clip) -> tuple[CaptionParts, list[str]]:
    """The parts without those that contradict the clip or repeat another, and a phrase for each that was left out."""
    conflicts = []
    heard = {name: getattr(parts, name) for name in SOUND_PARTS if getattr(parts, name)}
    if clip.silence_ratio >= SILENT_RATIO:
        conflicts += [f"{name} in a silent clip" for name in heard]
        heard = {}
    said = {_bare(parts.visual)}
    for name, part in list(heard.items()):
        if _bare(part) in said:
            conflicts.append(f"{name} that repeats another part")
            del heard[name]
        said.add(_bare(part))
    return replace(parts, **{name: heard.get(name, "") for name in SOUND_PARTS}), conflicts


def merged(parts: CaptionParts) -> str:
    """The prompt: visuals first, then speech with its words in quotes, then other sound and music; whole sentences."""
    return " ".join(_sentence(part) for part in (parts.visual, parts.speech, parts.sound, parts.music) if part)


def _bare(part: str) -> str:
    return part.casefold().strip(" .")


def _sentence(part: str) -> str:
    ended = part if part.rstrip('"”').endswith((".", "!", "?")) else f"{part}."
    return ended[0].upper() + ended[1:]
