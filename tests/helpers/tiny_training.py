"""Cached latents and a configuration to train on in seconds: random low-rank latents in the real store's form."""

from __future__ import annotations

import math
from typing import Any

import torch
import yaml

from mova_core.codecs.nano_audio import NanoAudioCodec
from mova_core.config import Config, parse_config, preset_text
from mova_core.data.manifest import write_manifest
from mova_core.data.records import LatentRow
from mova_core.data.shards import (
    AUDIO,
    AUDIO_LEVELLED,
    MANIFEST_FILE,
    SHARDS_FOLDER,
    TEXT_TABLE_FILE,
    LatentStore,
    first_frame_tensor_name,
    video_tensor_name,
    write_shard,
    write_text_table,
)
from mova_core.models.weights import save_model
from mova_core.steps import PHASES
from mova_core.training.phase import starting_model
from mova_core.training.rundir import RunFolder, fingerprint
from mova_core.workspace import Workspace

TINY: dict[str, Any] = {
    "media.num_frames": 9,
    "encode.video.fit.latent_channels": 4,
    "encode.audio.fit.latent_channels": 6,
    "model.video_dit": {"dim": 24, "ffn_dim": 32, "num_heads": 2, "num_layers": 2, "freq_dim": 16},
    "model.audio_dit": {"dim": 24, "ffn_dim": 32, "num_heads": 2, "num_layers": 2, "freq_dim": 16},
    "model.dual_tower_bridge": {"head_dim": 12},
    "model.boundary_ratio": 0.9,
    "train.validation": {"every_steps": 4, "num_clips": 5},
    "train.engine": {"processes": 1, "threads_per_process": 1, "state_every_steps": 4, "log_every_steps": 2},
    "train.phases": {
        name: {"steps": 8, "batch_size": 4, "warmup_steps": 1, "decay_steps": 3, "text_dropout": 0.3} for name in PHASES
    },
}
TINY["train.phases"] |= {name: {**TINY["train.phases"][name], "experts": "alternate"} for name in PHASES[1:]}
NUM_TOKENS, TEXT_DIM, RANK = 3, 8, 4


def tiny_config(**changes: Any) -> Config:
    """The nano preset with `TINY` and then `changes` laid over it; keys are dotted, `__` stands for a dot."""
    values = yaml.safe_load(preset_text("nano"))
    for key, value in (*TINY.items(), *((key.replace("__", "."), value) for key, value in changes.items())):
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section[name]
        _lay_over(section, last, value)
    return parse_config(yaml.safe_dump(values), source="the tiny configuration")


def write_latents(workspace: Workspace, config: Config, num_clips: int = 12, seed: int = 0) -> None:
    """A finished `encode`: clips of which every sixth is held out, with latents of rank `RANK`."""
    generator = torch.Generator().manual_seed(seed)
    frames = 1 + (config.media.num_frames - 1) // 4
    video_channels = config.encode.video.fit.latent_channels
    audio_shape = (config.encode.audio.fit.latent_channels, math.ceil(config.media.num_audio_samples / 960))
    tensors = {}
    for resolution in config.encode.resolutions:
        shape = (video_channels, frames, resolution[0] // 8, resolution[1] // 8)
        tensors[video_tensor_name(resolution)] = _latents(num_clips, shape, generator)
        tensors[first_frame_tensor_name(resolution)] = _latents(num_clips, shape, generator)
    tensors |= {name: _latents(num_clips, audio_shape, generator) for name in (AUDIO, AUDIO_LEVELLED)}
    shards = workspace.latents / SHARDS_FOLDER
    shards.mkdir(parents=True)
    write_shard(shards / "demo-00000.safetensors", tensors, "tiny")
    lengths = torch.tensor([1] + [1 + index % NUM_TOKENS for index in range(num_clips)])
    states = torch.randn(int(lengths.sum()), TEXT_DIM, generator=generator)
    write_text_table(shards / TEXT_TABLE_FILE, states, lengths, NUM_TOKENS, "tiny")
    _write_codecs(workspace, config)
    rows = [
        LatentRow(
            clip_id=f"clip{index:03d}",
            collection="demo",
            split="val" if index % 6 == 5 else "train",
            label="lamp",
            caption="a lamp",
            shard="demo-00000.safetensors",
            row=index,
            text_row=index + 1,
            phases=list(PHASES),
        )
        for index in range(num_clips)
    ]
    write_manifest(workspace.latents / MANIFEST_FILE, LatentRow, rows)


def _latents(num: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    basis = torch.randn(RANK, math.prod(shape), generator=generator)
    return (torch.randn(num, RANK, generator=generator) @ basis / RANK**0.5).view(num, *shape)


def _write_codecs(workspace: Workspace, config: Config) -> None:
    NanoAudioCodec(
        sample_rate_hz=config.media.sample_rate_hz,
        hop=960,
        overlap=960,
        compand_power=0.5,
        latent_channels=config.encode.audio.fit.latent_channels,
    ).save(workspace.codecs / "audio_vae")


def _lay_over(section: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(section.get(key), dict):
        for name, inner in value.items():
            _lay_over(section[key], name, inner)
    else:
        section[key] = value


def finish_audio_phase(workspace: Workspace, config: Config) -> None:
    """A finished phase `audio` whose checkpoint holds first weights."""
    run = RunFolder(workspace.run("audio"))
    store = LatentStore(workspace.latents)
    save_model(starting_model(config, workspace, "audio", store, config.model), run.checkpoint)
    run.finish(fingerprint(config, workspace, "audio"), {"train_clips": 0.0})
