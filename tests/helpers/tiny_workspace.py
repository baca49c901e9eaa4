"""A workspace as `sample` and `release` find it: clips, latents' manifest, codecs, checkpoints; nothing trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_release import SAMPLE_RATE_HZ, WORDS, tiny_checkpoint, tiny_codecs, tiny_model_section

from mova_core.config import Config, parse_config, preset_text, save_config
from mova_core.data.manifest import write_manifest
from mova_core.data.media import write_clip
from mova_core.data.records import Clip, LatentRow
from mova_core.workspace import Workspace

NUM_FRAMES, SIDE, FPS = 9, 32, 24.0
# Held-out labels as they occur; of two clips a sampler must not take, one shows two things and one is for training.
LABELS = ("lamp", "lamp", "lamp", "ball", "lamp+ball", "lamp")
SETS = (
    {"name": "joint2", "phase": "joint2", "bridge": True, "height": 16, "width": 16},
    {"name": "joint3", "phase": "joint3", "bridge": True, "height": 32, "width": 32},
    {"name": "joint3_bridge_off", "phase": "joint3", "bridge": False, "height": 32, "width": 32},
)


def tiny_config(**sampling: Any) -> Config:
    """The nano preset with small clips, three sets and two steps; `sampling` changes the section `sample`."""
    config = parse_config(preset_text("nano"), source="the nano preset")
    values = config.model_dump(mode="json")
    values["collections"] = ["demo"]
    values["media"] |= {
        "width": SIDE,
        "height": SIDE,
        "num_frames": NUM_FRAMES,
        "fps": FPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
    }
    values["model"] = tiny_model_section(values["model"])
    values["sample"] |= {"sets": list(SETS), "num_clips": 4, "batch_size": 3, "num_steps": 2, **sampling}
    return Config.model_validate(values)


def tiny_workspace(root: Path, config: Config) -> Workspace:
    """Writes everything that `sample` reads, and params.yaml."""
    workspace = Workspace(root)
    save_config(config, workspace.params)
    _write_clips(workspace)
    tiny_codecs(workspace.codecs)
    for seed, phase in enumerate(("joint2", "joint3")):
        tiny_checkpoint(workspace.run(phase) / "checkpoint", seed, with_codecs=False)
    return workspace


def _write_clips(workspace: Workspace) -> None:
    generator = np.random.default_rng(0)
    folder = workspace.clips("demo")
    clips, rows = [], []
    for index, label in enumerate(LABELS):
        clip_id = f"{index:016x}"
        frames = generator.integers(0, 256, (NUM_FRAMES, SIDE, SIDE, 3), np.uint8)
        waveform = generator.uniform(-0.5, 0.5, round(NUM_FRAMES / FPS * SAMPLE_RATE_HZ)).astype(np.float32)
        path = f"clips/{clip_id}.mp4"
        write_clip(folder / path, frames, waveform, FPS, SAMPLE_RATE_HZ)
        split = "train" if index == len(LABELS) - 1 else "val"
        clips.append(_clip(clip_id, split, path, label))
        caption = f"a {label.split('+')[0]} {WORDS[2 + index]}"
        phases = ["audio", "joint1", "joint2", "joint3"]
        rows.append(
            LatentRow(clip_id, "demo", split, label, caption, "demo-00000.safetensors", index, index + 1, phases)
        )
    write_manifest(folder / "manifest.parquet", Clip, clips)
    write_manifest(workspace.latents / "manifest.parquet", LatentRow, rows)


def _clip(clip_id: str, split: str, path: str, label: str) -> Clip:
    return Clip(
        clip_id=clip_id,
        source_id=f"source-{clip_id}",
        collection="demo",
        split=split,
        path=path,
        start_seconds=0.0,
        duration_seconds=NUM_FRAMES / FPS,
        num_frames=NUM_FRAMES,
        fps=FPS,
        width=SIDE,
        height=SIDE,
        sample_rate_hz=SAMPLE_RATE_HZ,
        kind="single_sound",
        num_cuts=0,
        speech_ratio=0.0,
        silence_ratio=0.0,
        bandwidth_hz=4000.0,
        loudness_lufs=-20.0,
        clipping_ratio=0.0,
        blur=1.0,
        motion=1.0,
        av_onset_agreement=1.0,
        label=label,
    )
