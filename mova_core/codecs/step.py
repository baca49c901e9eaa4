"""The `encode` step: clips and captions of all collections to latents and token states in shards.

In this order: the codecs, the shards, the table of prompts, the quality figures with their picture, the manifest. Each
carries a fingerprint of what it depends on; a run that was stopped finds by it what is done, and does the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mova_core.codecs.base import Codecs
from mova_core.codecs.caching import write_prompts, write_shards
from mova_core.codecs.fitting import kept_fingerprint, make_codecs, one_torch_thread
from mova_core.codecs.plan import Plan, Shard, make_plan
from mova_core.codecs.preview import ShownClip, write_preview
from mova_core.codecs.quality import Quality, stored_round_trip
from mova_core.codecs.reading import ClipReader, DecodedClip, clip_reader
from mova_core.config import Config
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.records import LatentRow
from mova_core.data.shards import MANIFEST_FILE, SHARDS_FOLDER, TEXT_TABLE_FILE, stored_fingerprint
from mova_core.files import write_text
from mova_core.progress import say
from mova_core.report import StageReport
from mova_core.workspace import Workspace

QUALITY_FILE = "quality.json"
PREVIEW_FILE = "preview.png"
NUM_PREVIEW_CLIPS = 4


def run(config: Config, workspace: Workspace) -> StageReport:
    """Runs the step; what is done already stays.

    Raises
    ------
    UserError : if a manifest, a clip or a codec is absent or unfit, or the settings ask for the impossible.
    """
    plan = make_plan(config, workspace)
    folder = workspace.latents
    if not _is_finished(plan, workspace):
        (folder / MANIFEST_FILE).unlink(missing_ok=True)  # what it describes is about to change
        with clip_reader() as reader:
            _make_what_is_missing(config, workspace, plan, reader)
        _remove_leftovers(plan, folder / SHARDS_FOLDER)
        write_manifest(folder / MANIFEST_FILE, LatentRow, plan.rows())
    return _report(workspace, plan)


def _is_finished(plan: Plan, workspace: Workspace) -> bool:
    manifest = workspace.latents / MANIFEST_FILE
    return (
        kept_fingerprint(workspace.codecs) == plan.codecs_fingerprint
        and not _pending_shards(plan, workspace.latents)
        and stored_fingerprint(_text_path(workspace.latents)) == plan.text_fingerprint
        and _kept_metrics(plan, workspace.latents) is not None
        and manifest.is_file()
        and read_manifest(manifest, LatentRow) == plan.rows()
    )


def _make_what_is_missing(config: Config, workspace: Workspace, plan: Plan, reader: ClipReader) -> None:
    folder = workspace.latents
    codecs = make_codecs(
        config,
        workspace,
        plan.codecs_fingerprint,
        len(plan.fit_clips),
        lambda: reader.read([item.task(config) for item in plan.fit_clips]),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    codecs = codecs.to(device)
    pending = _pending_shards(plan, folder)
    if pending:
        clips = [item for shard in pending for item in shard.clips]
        say(f"encoding {len(clips)} of {len(plan.clips)} clips on {device}")
        decoded = reader.read([item.task(config) for item in clips])
        write_shards(folder / SHARDS_FOLDER, pending, decoded, codecs, config.encode.batch_size, device)
    if stored_fingerprint(_text_path(folder)) != plan.text_fingerprint:
        say(f"encoding {len(plan.prompts)} prompts")
        write_prompts(_text_path(folder), plan.prompts, codecs.text, plan.text_fingerprint)
    if _kept_metrics(plan, folder) is None:
        _measure(config, folder, plan, codecs, reader, device)


def _measure(
    config: Config, folder: Path, plan: Plan, codecs: Codecs, reader: ClipReader, device: torch.device
) -> None:
    """Writes the preview, then the quality figures."""
    quality = Quality()
    shown: dict[str, DecodedClip] = {}
    say(f"measuring what the codecs lose on {len(plan.quality_clips)} clips")
    decoded = reader.read([item.task(config) for item in plan.quality_clips])
    with one_torch_thread():
        for item, clip in zip(plan.quality_clips, decoded, strict=True):
            quality.add(codecs, clip, device)
            if len(shown) < NUM_PREVIEW_CLIPS:
                shown.setdefault(item.clip.label, clip)
        sheet = [_shown(codecs, label, clip, device) for label, clip in shown.items()]
    write_preview(folder / PREVIEW_FILE, sheet, config.media.sample_rate_hz)
    num_cut = sum(count > codecs.text.max_tokens for count in codecs.text.count_tokens(list(plan.prompts)))
    metrics = {**quality.metrics(), "prompts": len(plan.prompts), "prompts_cut": num_cut}
    kept = {"fingerprint": plan.quality_fingerprint, "metrics": metrics}
    write_text(folder / QUALITY_FILE, json.dumps(kept, indent=2, sort_keys=True) + "\n")


def _shown(codecs: Codecs, label: str, clip: DecodedClip, device: torch.device) -> ShownClip:
    """The clip at its largest size, then decoded from latents of every size, the largest first."""
    pictures = {"original": clip.frames[max(clip.frames)]}
    for resolution, frames in sorted(clip.frames.items(), reverse=True):
        decoded = stored_round_trip(codecs, frames, clip.waveform, resolution, device)[1]
        pictures["x".join(map(str, resolution))] = decoded.frames[0]
    return ShownClip(label, pictures, {"original": clip.waveform, "decoded": decoded.waveforms[0]})


def _report(workspace: Workspace, plan: Plan) -> StageReport:
    metrics = _kept_metrics(plan, workspace.latents) or {}
    num_cut = int(metrics["prompts_cut"])
    folder = workspace.latents.relative_to(workspace.root)
    return StageReport(
        step="encode",
        rows_in=len(plan.clips),
        rows_out=len(plan.clips),
        metrics=metrics,
        previews=(str(folder / PREVIEW_FILE),),
        outputs=(str(folder),),
        notes=(f"{num_cut} prompts were longer than the text encoder takes, and were cut",) if num_cut else (),
    )


def _pending_shards(plan: Plan, folder: Path) -> list[Shard]:
    shards = folder / SHARDS_FOLDER
    return [shard for shard in plan.shards if stored_fingerprint(shards / shard.name) != shard.fingerprint]


def _remove_leftovers(plan: Plan, shards: Path) -> None:
    """Takes away shards of earlier runs, which nothing names any more."""
    named = {TEXT_TABLE_FILE, *(shard.name for shard in plan.shards)}
    for path in shards.iterdir():
        if path.name not in named:
            path.unlink()


def _text_path(folder: Path) -> Path:
    return folder / SHARDS_FOLDER / TEXT_TABLE_FILE


def _kept_metrics(plan: Plan, folder: Path) -> dict[str, float] | None:
    """The quality figures, if they are of this plan."""
    try:
        kept = json.loads((folder / QUALITY_FILE).read_text(encoding="utf-8"))
        metrics: dict[str, float] = kept["metrics"]
        return metrics if kept["fingerprint"] == plan.quality_fingerprint else None
    except (OSError, ValueError, KeyError):
        return None
