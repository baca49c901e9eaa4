"""The `encode` step: clips and captions of all collections to latents and token states in shards.

In this order: the codecs, the shards, the table of prompts, the quality figures with their picture, the manifest. Each
carries a fingerprint of what it depends on; a run that was stopped finds by it what is done, and does the rest.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mova_core.codecs.arrays import audio_tensor, first_frame_latents, video_tensor
from mova_core.codecs.base import Codecs
from mova_core.codecs.fitting import (
    codecs_fingerprint,
    kept_fingerprint,
    make_codecs,
    needs_fit,
    one_torch_thread,
    spread_evenly,
)
from mova_core.codecs.plan import CaptionedClip, Shard, captioned_clips, latent_rows, plan_shards, unique_prompts
from mova_core.codecs.preview import write_preview
from mova_core.codecs.quality import Quality, stored_round_trip
from mova_core.codecs.reading import ClipReader, DecodedClip, clip_reader
from mova_core.config import Config
from mova_core.data.manifest import write_manifest
from mova_core.data.records import LatentRow
from mova_core.data.shards import (
    AUDIO,
    AUDIO_LEVELLED,
    MANIFEST_FILE,
    SHARDS_FOLDER,
    STORED_DTYPE,
    TEXT_TABLE_FILE,
    first_frame_tensor_name,
    stored_fingerprint,
    video_tensor_name,
    write_shard,
    write_text_table,
)
from mova_core.files import content_id, write_text
from mova_core.progress import say, track
from mova_core.report import StageReport
from mova_core.workspace import Workspace

QUALITY_FILE = "quality.json"
PREVIEW_FILE = "preview.png"
NUM_PREVIEW_CLIPS = 4
PROMPTS_AT_ONCE = 256


def run(config: Config, workspace: Workspace) -> StageReport:
    """Runs the step.

    Raises
    ------
    UserError : if a manifest, a clip or a codec is absent or unfit, or the settings ask for the impossible.
    """
    clips = captioned_clips(config, workspace)
    with clip_reader() as reader:
        encoding = _Encoding(config, workspace, clips, reader)
        encoding.finish()
        metrics = encoding.metrics()
    num_cut = int(metrics["prompts_cut"])
    limit = "the text encoder's limit of tokens"
    return StageReport(
        step="encode",
        rows_in=len(clips),
        rows_out=len(clips),
        metrics=metrics,
        previews=(str((workspace.latents / PREVIEW_FILE).relative_to(workspace.root)),),
        outputs=(str(workspace.latents.relative_to(workspace.root)),),
        notes=(f"{num_cut} prompts are longer than {limit} and were cut",) if num_cut else (),
    )


@dataclass(frozen=True)
class _Encoding:
    """One run: what there is to encode, and where it goes."""

    config: Config
    workspace: Workspace
    clips: list[CaptionedClip]
    reader: ClipReader

    def finish(self) -> None:
        """Makes what is missing, in the order that a reader of the folder can rely on."""
        manifest = self.workspace.latents / MANIFEST_FILE
        pending = [shard for shard in self.shards if stored_fingerprint(self._shard_path(shard)) != shard.fingerprint]
        text_pending = stored_fingerprint(self._text_path) != self.text_fingerprint
        if kept_fingerprint(self.workspace.codecs) != self.codecs_fingerprint or pending or text_pending:
            manifest.unlink(missing_ok=True)  # what it describes is about to change
            self.codecs  # noqa: B018 (made on first use)
        if pending:
            self._write_shards(pending)
        if text_pending:
            self._write_text_table()
        if self._kept_metrics() is None:
            self._measure_quality()
        self._remove_leftovers()
        write_manifest(manifest, LatentRow, latent_rows(self.shards, self.prompts))

    def metrics(self) -> dict[str, float]:
        """The quality figures, after `finish`."""
        metrics = self._kept_metrics()
        assert metrics is not None
        return metrics

    @cached_property
    def fit_clips(self) -> list[CaptionedClip]:
        """The training clips that codecs are fitted on."""
        if not needs_fit(self.config.encode):
            return []
        train = [item for item in self.clips if item.clip.split == "train"]
        return spread_evenly(train, self.config.encode.fit_clips)

    @cached_property
    def quality_clips(self) -> list[CaptionedClip]:
        """Held-out clips, or training clips where none is held out."""
        held_out = [item for item in self.clips if item.clip.split != "train"]
        return spread_evenly(held_out or self.clips, self.config.encode.quality_clips)

    @cached_property
    def codecs_fingerprint(self) -> str:
        return codecs_fingerprint(self.config, [f"{item.clip.clip_id} {item.size_bytes}" for item in self.fit_clips])

    @cached_property
    def text_fingerprint(self) -> str:
        return content_id(self.codecs_fingerprint, *self.prompts)

    @cached_property
    def quality_fingerprint(self) -> str:
        return content_id(self.text_fingerprint, *(item.clip.clip_id for item in self.quality_clips))

    @cached_property
    def shards(self) -> list[Shard]:
        return plan_shards(self.config, self.clips, self.codecs_fingerprint)

    @cached_property
    def prompts(self) -> list[str]:
        return unique_prompts(self.clips)

    @cached_property
    def device(self) -> torch.device:
        """Where codecs run: the first CUDA device if there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        say(f"encoding on {device}")
        return device

    @cached_property
    def codecs(self) -> Codecs:
        codecs = make_codecs(
            self.config,
            self.workspace.codecs,
            self.codecs_fingerprint,
            len(self.fit_clips),
            lambda: self._read(self.fit_clips),
        )
        return codecs.to(self.device)

    def _read(self, clips: Sequence[CaptionedClip]) -> Iterator[DecodedClip]:
        return self.reader.read(item.task(self.config) for item in clips)

    def _write_shards(self, pending: list[Shard]) -> None:
        codecs = self.codecs
        clips = [item for shard in pending for item in shard.clips]
        done = sum(len(shard.clips) for shard in self.shards) - len(clips)
        say(f"encoding {len(clips)} clips" + (f", {done} are done" if done else ""))
        decoded = track(self._read(clips), "encode clips", len(clips))
        with one_torch_thread():
            for shard in pending:
                tensors = self._encoded(codecs, itertools.islice(decoded, len(shard.clips)))
                write_shard(self._shard_path(shard), tensors, shard.fingerprint)

    def _encoded(self, codecs: Codecs, clips: Iterator[DecodedClip]) -> dict[str, Tensor]:
        """The tensors of one shard."""
        parts: dict[str, list[Tensor]] = {}
        while batch := list(itertools.islice(clips, self.config.encode.batch_size)):
            for name, latents in encoded_batch(codecs, batch, self.device).items():
                parts.setdefault(name, []).append(latents.to(STORED_DTYPE).cpu())
        return {name: torch.cat(latents) for name, latents in parts.items()}

    def _write_text_table(self) -> None:
        encoder = self.codecs.text
        say(f"encoding {len(self.prompts)} prompts")
        states, lengths = [], []
        starts = range(0, len(self.prompts), PROMPTS_AT_ONCE)
        for start in track(starts, f"encode prompts by {PROMPTS_AT_ONCE}"):
            padded, counts = encoder.encode(self.prompts[start : start + PROMPTS_AT_ONCE])
            mask = torch.arange(encoder.max_tokens, device=counts.device) < counts[:, None]
            states.append(padded[mask].to(STORED_DTYPE).cpu())
            lengths.append(counts.cpu())
        write_text_table(
            self._text_path, torch.cat(states), torch.cat(lengths), encoder.max_tokens, self.text_fingerprint
        )

    def _measure_quality(self) -> None:
        quality = Quality()
        shown: dict[str, DecodedClip] = {}
        say(f"measuring what the codecs lose on {len(self.quality_clips)} clips")
        with one_torch_thread():
            for item, clip in zip(self.quality_clips, self._read(self.quality_clips), strict=True):
                quality.add(self.codecs, clip, self.device)
                if len(shown) < NUM_PREVIEW_CLIPS:
                    shown.setdefault(item.clip.label, clip)
            self._write_preview(list(shown.values()))
        counts = self.codecs.text.count_tokens(self.prompts)
        num_cut = sum(count > self.codecs.text.max_tokens for count in counts)
        metrics = {**quality.metrics(), "prompts": len(self.prompts), "prompts_cut": num_cut}
        kept = {"fingerprint": self.quality_fingerprint, "metrics": metrics}
        write_text(self._quality_path, json.dumps(kept, indent=2, sort_keys=True) + "\n")

    def _write_preview(self, clips: list[DecodedClip]) -> None:
        rows = []
        for clip in clips:
            largest = max(clip.frames)
            pictures, sounds = [clip.frames[largest]], [clip.waveform]
            for resolution, frames in sorted(clip.frames.items(), reverse=True):
                decoded = stored_round_trip(self.codecs, frames, clip.waveform, resolution, self.device)[1]
                pictures.append(decoded.frames[0])
            rows.append((pictures, [*sounds, decoded.waveforms[0]]))
        write_preview(self.workspace.latents / PREVIEW_FILE, rows, self.config.media.sample_rate_hz)

    def _kept_metrics(self) -> dict[str, float] | None:
        try:
            kept = json.loads(self._quality_path.read_text(encoding="utf-8"))
            metrics: dict[str, float] = kept["metrics"]
            return metrics if kept["fingerprint"] == self.quality_fingerprint else None
        except (OSError, ValueError, KeyError):
            return None

    def _remove_leftovers(self) -> None:
        """Takes away shards of earlier runs, which nothing names any more."""
        named = {TEXT_TABLE_FILE, *(shard.name for shard in self.shards)}
        for path in self._text_path.parent.iterdir():
            if path.name not in named:
                path.unlink()

    def _shard_path(self, shard: Shard) -> Path:
        return self.workspace.latents / SHARDS_FOLDER / shard.name

    @property
    def _text_path(self) -> Path:
        return self.workspace.latents / SHARDS_FOLDER / TEXT_TABLE_FILE

    @property
    def _quality_path(self) -> Path:
        return self.workspace.latents / QUALITY_FILE


def encoded_batch(codecs: Codecs, clips: Sequence[DecodedClip], device: torch.device) -> dict[str, Tensor]:
    """Latents of some clips under the names that a shard gives them."""
    latents = {
        AUDIO: codecs.audio.encode(audio_tensor(np.stack([clip.waveform for clip in clips]), device)),
        AUDIO_LEVELLED: codecs.audio.encode(audio_tensor(np.stack([clip.levelled for clip in clips]), device)),
    }
    for resolution in clips[0].frames:
        video = video_tensor(np.stack([clip.frames[resolution] for clip in clips]), device)
        latents[video_tensor_name(resolution)] = codecs.video.encode(video)
        latents[first_frame_tensor_name(resolution)] = first_frame_latents(
            codecs.video, video[:, :, :1], video.shape[2]
        )
    return latents
