"""Writes latents: clips into shards, prompts into their table. The files' layout is `mova_core.data.shards`'."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mova_core.codecs.arrays import audio_tensor, video_tensor
from mova_core.codecs.base import Codecs, TextEncoder
from mova_core.codecs.fitting import one_torch_thread
from mova_core.codecs.plan import Shard
from mova_core.codecs.reading import DecodedClip
from mova_core.data.shards import (
    AUDIO,
    AUDIO_LEVELLED,
    STORED_DTYPE,
    first_frame_tensor_name,
    video_tensor_name,
    write_shard,
    write_text_table,
)
from mova_core.progress import track

PROMPTS_AT_ONCE = 256


def write_shards(
    folder: Path,
    shards: Sequence[Shard],
    clips: Iterator[DecodedClip],
    codecs: Codecs,
    batch_size: int,
    device: torch.device,
) -> None:
    """Encodes `clips`, which come in the order of the shards, and writes each shard as soon as it is full.

    batch_size : clips that a codec takes at once. device : where the codecs are.
    """
    decoded = track(clips, "encode clips", sum(len(shard.clips) for shard in shards))
    with one_torch_thread():
        for shard in shards:
            parts: dict[str, list[Tensor]] = {}
            of_shard = itertools.islice(decoded, len(shard.clips))
            while batch := list(itertools.islice(of_shard, batch_size)):
                for name, latents in encoded_batch(codecs, batch, device).items():
                    parts.setdefault(name, []).append(latents.to(STORED_DTYPE).cpu())
            tensors = {name: torch.cat(latents) for name, latents in parts.items()}
            write_shard(folder / shard.name, tensors, shard.fingerprint)


def encoded_batch(codecs: Codecs, clips: Sequence[DecodedClip], device: torch.device) -> dict[str, Tensor]:
    """Latents of some clips under the names that a shard gives them."""
    plain = audio_tensor(np.stack([clip.waveform for clip in clips]), device)
    levelled = audio_tensor(np.stack([clip.levelled for clip in clips]), device)
    latents = {AUDIO: codecs.audio.encode(plain), AUDIO_LEVELLED: codecs.audio.encode(levelled)}
    for resolution in clips[0].frames:
        video = video_tensor(np.stack([clip.frames[resolution] for clip in clips]), device)
        latents[video_tensor_name(resolution)] = codecs.video.encode(video)
        given = codecs.video.encode_first_frame(video[:, :, :1], video.shape[2])
        latents[first_frame_tensor_name(resolution)] = given
    return latents


def write_prompts(path: Path, prompts: Sequence[str], encoder: TextEncoder, fingerprint: str) -> None:
    """Encodes `prompts`, the empty one first, and writes their table."""
    states, lengths = [], []
    for start in track(range(0, len(prompts), PROMPTS_AT_ONCE), f"encode prompts by {PROMPTS_AT_ONCE}"):
        padded, counts = encoder.encode(list(prompts[start : start + PROMPTS_AT_ONCE]))
        mask = torch.arange(encoder.max_tokens, device=counts.device) < counts[:, None]
        states.append(padded[mask].to(STORED_DTYPE).cpu())
        lengths.append(counts.cpu())
    write_text_table(path, torch.cat(states), torch.cat(lengths), encoder.max_tokens, fingerprint)
