"""Small numpy scenes with known events, independent of the corpus renderer that the detectors meet in production."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny_release import AUDIO_CHANNELS, TEXT_DIM, VIDEO_CHANNELS, tiny_checkpoint, tiny_codecs, tiny_model_section

from mova_core.codecs.arrays import encode_clip_arrays, video_tensor
from mova_core.codecs.base import Codecs
from mova_core.codecs.nano_audio import NanoAudioCodec, NanoAudioFitter
from mova_core.codecs.nano_video import NanoVideoFitter
from mova_core.config import Config, parse_config, preset_text
from mova_core.data.manifest import write_manifest
from mova_core.data.media import write_clip
from mova_core.data.records import Clip, Event, LatentRow, Sample
from mova_core.data.shards import (
    AUDIO,
    AUDIO_LEVELLED,
    SHARDS_FOLDER,
    TEXT_TABLE_FILE,
    first_frame_tensor_name,
    video_tensor_name,
    write_shard,
    write_text_table,
)
from mova_core.data.truth import Truth
from mova_core.evaluation.step import run
from mova_core.files import write_text
from mova_core.report import StageReport
from mova_core.workspace import Workspace

FPS, RATE_HZ, NUM_FRAMES = 24.0, 48_000, 33
SECONDS = NUM_FRAMES / FPS


@dataclass(frozen=True)
class Scene:
    """A rendered clip and what happens in it."""

    label: str
    frames: npt.NDArray[np.uint8]
    waveform: npt.NDArray[np.float32]
    events: tuple[float, ...]


class Stage:
    """Renders scenes; `late_seconds` puts the sound later than its picture."""

    def lamp(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        time = np.arange(NUM_FRAMES) / FPS
        glow = sum((np.exp(-(time - event) / 0.15) * (time >= event) for event in events), np.zeros(NUM_FRAMES))
        y, x = self._grid(size)
        disc = np.clip((0.25 - np.hypot(x - 0.5, y - 0.45)) * size / 2, 0, 1)
        picture = self._canvas(size, (70, 80, 110))[None] * np.ones((NUM_FRAMES, 1, 1, 1))
        picture = picture + (disc[None, ..., None] * glow[:, None, None, None]) * np.array([150, 130, 60])
        sound = self._struck(tuple(event + late_seconds for event in events), 880.0, 0.2)
        return self._scene("lamp", picture, sound, events, seed)

    def ball(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        time = np.arange(NUM_FRAMES) / FPS
        nearest = np.abs(time[:, None] - np.array(events)[None]).min(axis=1)
        height = (1 - (1 - np.minimum(1.0, nearest / 1.1)) ** 2) * 0.6
        y, x = self._grid(size)
        ball = np.clip((0.12 - np.hypot(x[None] - 0.5, y[None] - (0.8 - height)[:, None, None])) * size, 0, 1)
        picture = self._canvas(size, (190, 190, 180))[None] * (1 - ball[..., None])
        picture = picture + ball[..., None] * np.array([120, 60, 60])
        sound = self._struck(tuple(event + late_seconds for event in events), 220.0, 0.08)
        return self._scene("ball", picture, sound, events, seed)

    def face(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        opening = self._swell(events, np.arange(NUM_FRAMES) / FPS)
        y, x = self._grid(size)
        mouth = np.clip(
            (1 - np.hypot((x[None] - 0.5) / 0.16, (y[None] - 0.68) / (0.02 + 0.14 * opening)[:, None, None])) * 4, 0, 1
        )
        picture = self._canvas(size, (220, 180, 150))[None] * (1 - mouth[..., None])
        picture = picture + mouth[..., None] * np.array([100, 20, 30])
        clock = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        voice = sum(np.sin(2 * np.pi * 140 * k * clock) / k for k in range(1, 8))
        sound = 0.2 * voice * self._swell(tuple(event + late_seconds for event in events), clock)
        return self._scene("face", picture, sound, events, seed)

    def wheel(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        fine = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        angle = np.cumsum(self._swell(events, fine)) / RATE_HZ * 2 * np.pi * 1.2
        turned = angle[np.round(np.arange(NUM_FRAMES) / FPS * RATE_HZ).astype(int)]
        y, x = self._grid(size)
        bearing, radius = np.arctan2(y - 0.5, x - 0.5), np.hypot(x - 0.5, y - 0.5)
        spokes = (0.5 + 0.5 * np.cos(5 * (bearing[None] - turned[:, None, None]))) * (radius < 0.4)
        picture = self._canvas(size, (200, 200, 210))[None] * (1 - 0.6 * spokes[..., None])
        hub = 150 * (self._swell(events, np.arange(NUM_FRAMES) / FPS)[:, None, None] * (radius < 0.12))
        picture = picture + (hub * (radius < 0.12))[..., None] - 60 * (radius < 0.12)[..., None]
        speed = self._swell(tuple(event + late_seconds for event in events), fine)
        sound = 0.3 * speed * np.sin(2 * np.pi * np.cumsum(90 + 120 * speed) / RATE_HZ)
        return self._scene("wheel", picture, sound, events, seed)

    def scene(
        self, label: str, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0
    ) -> Scene:
        render = {"lamp": self.lamp, "ball": self.ball, "face": self.face, "wheel": self.wheel}[label]
        return render(events, late_seconds, size, seed)

    @staticmethod
    def _grid(size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        y, x = np.mgrid[0:size, 0:size]
        return (y + 0.5) / size, (x + 0.5) / size

    @staticmethod
    def _canvas(size: int, colour: tuple[int, int, int]) -> npt.NDArray[np.float64]:
        shade = np.linspace(0.9, 1.0, size)[:, None, None]
        return shade * np.array(colour, dtype=np.float64) * np.ones((size, size, 1))

    @staticmethod
    def _struck(events: tuple[float, ...], pitch_hz: float, decay_seconds: float) -> npt.NDArray[np.float64]:
        clock = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        sound = np.zeros(len(clock))
        for event in events:
            since = np.maximum(clock - event, 0.0)
            tone = np.sin(2 * np.pi * pitch_hz * since) + 0.5 * np.sin(2 * np.pi * 2.7 * pitch_hz * since)
            sound += 0.4 * tone * np.exp(-since / decay_seconds) * (clock >= event)
        return sound

    @staticmethod
    def _swell(events: tuple[float, ...], time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Rises over 80 ms from each event, holds, and is gone 300 ms after it."""
        since = time[:, None] - np.array(events)[None]
        return np.clip(np.minimum(since / 0.08, (0.3 - since) / 0.08), 0, 1).max(axis=1)

    @staticmethod
    def _scene(
        label: str,
        picture: npt.NDArray[np.float64],
        sound: npt.NDArray[np.float64],
        events: tuple[float, ...],
        seed: int,
    ) -> Scene:
        generator = np.random.default_rng(seed)
        noisy = picture + generator.normal(0, 1.5, picture.shape)
        hiss = generator.normal(0, 0.001, len(sound))
        return Scene(
            label, np.clip(np.round(noisy), 0, 255).astype(np.uint8), (sound + hiss).astype(np.float32), events
        )


@pytest.fixture(scope="session")
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="session")
def evaluated(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Workspace, StageReport]:
    """A workspace of six held-out clips with good, unrelated and unlabelled samples, after `evaluate` has run in it."""
    config = _config()
    workspace = Workspace(tmp_path_factory.mktemp("evaluated"))
    _write_everything(stage, workspace)
    return config, workspace, run(config, workspace)


SCENES = (
    ("lamp", (0.3, 0.85)),
    ("lamp", (0.52,)),
    ("lamp", (0.7, 1.15)),
    ("face", (0.26,)),
    ("face", (0.45, 1.0)),
    ("lamp+face", (0.5,)),
)


def _config() -> Config:
    values = parse_config(preset_text("nano"), source="the nano preset").model_dump(mode="json")
    values["collections"] = ["demo"]
    values["media"] |= {"width": 32, "height": 32}
    values["model"] = tiny_model_section(values["model"])
    size = {"height": 32, "width": 32}
    values["sample"]["sets"] = [
        {"name": "joint2", "phase": "joint2", "bridge": True, **size},
        {"name": "joint2_bridge_off", "phase": "joint2", "bridge": False, **size},
    ]
    values["evaluate"] = {
        "loss_phases": ["joint2"],
        "num_loss_clips": 6,
        "num_loss_draws": 1,
        "num_report_clips": 3,
        "report_clip_pixels": 64,
    }
    values["train"]["phases"]["joint2"] |= size
    return Config.model_validate(values)


def _write_everything(stage: Stage, workspace: Workspace) -> None:
    folder = workspace.clips("demo")
    clips, samples, scenes = [], [], []
    for index, (label, events) in enumerate(SCENES):
        scene = stage.scene(label.split("+")[0], events, size=32, seed=index)
        clip_id = f"{index:016x}"
        write_clip(folder / f"clips/{clip_id}.mp4", scene.frames, scene.waveform, FPS, RATE_HZ)
        truth = Truth(label, [Event(label, event, event) for event in events], [], 0.0, "", "", "", "")
        clips.append(_clip(clip_id, label, truth.to_json()))
        samples.append((clip_id, label))
        scenes.append(scene)
    write_manifest(folder / "manifest.parquet", Clip, clips)
    codecs = _codecs(scenes, workspace.codecs)
    _write_latents(codecs, scenes, workspace)
    for name, late_seconds in (("joint2", 0.0), ("joint2_bridge_off", 0.2)):
        target = workspace.samples / name
        for scene, (clip_id, _) in zip(scenes, samples, strict=True):
            moved = stage.scene(scene.label, scene.events, late_seconds, size=32)
            write_clip(target / f"{clip_id}.mp4", scene.frames, moved.waveform, FPS, RATE_HZ, audio_codec="aac")
        rows = [
            Sample(clip_id, name, clip_id, f"{clip_id}.mp4", f"a {label} <b>&", label, 0, 2, 2.0, 2.0, "")
            for clip_id, label in samples
        ]
        write_manifest(target / "manifest.parquet", Sample, rows)
    tiny_checkpoint(workspace.run("joint2") / "checkpoint", 0, with_codecs=False)
    lines = [{"step": step, "video_loss": 1 / (step + 1), "audio_loss": 1.0, "learning_rate": 0.1} for step in range(5)]
    write_text(workspace.run("joint2") / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _codecs(scenes: list[Scene], folder: Path) -> Codecs:
    video, audio = (
        NanoVideoFitter(VIDEO_CHANNELS),
        NanoAudioFitter(
            NanoAudioCodec(
                sample_rate_hz=RATE_HZ, hop=960, overlap=960, compand_power=0.5, latent_channels=AUDIO_CHANNELS
            )
        ),
    )
    for scene in scenes:
        video.add(video_tensor(scene.frames[None])[0])
        audio.add(torch.from_numpy(scene.waveform)[None])
    codecs = Codecs(video.finish(), audio.finish(), tiny_codecs(folder).text)
    codecs.save(folder)
    return codecs


def _write_latents(codecs: Codecs, scenes: list[Scene], workspace: Workspace) -> None:
    parts = [encode_clip_arrays(codecs, scene.frames[None], scene.waveform[None], (32, 32)) for scene in scenes]
    video, audio = torch.cat([part.video for part in parts]), torch.cat([part.audio for part in parts])
    tensors = {
        video_tensor_name((32, 32)): video,
        first_frame_tensor_name((32, 32)): video,
        AUDIO: audio,
        AUDIO_LEVELLED: audio,
    }
    shards = workspace.latents / SHARDS_FOLDER
    shards.mkdir(parents=True, exist_ok=True)
    write_shard(shards / "demo-00000.safetensors", tensors, "test")
    write_text_table(shards / TEXT_TABLE_FILE, torch.randn(2, TEXT_DIM), torch.tensor([1, 1]), 3, "test")
    rows = [
        LatentRow(f"{index:016x}", "demo", "val", scene.label, "", "demo-00000.safetensors", index, 1, ["joint2"])
        for index, scene in enumerate(scenes)
    ]
    write_manifest(workspace.latents / "manifest.parquet", LatentRow, rows)


def _clip(clip_id: str, label: str, truth_json: str) -> Clip:
    scores = dict.fromkeys(
        ("speech_ratio", "silence_ratio", "loudness_lufs", "clipping_ratio", "blur", "motion", "av_onset_agreement"),
        0.0,
    )
    return Clip(
        clip_id=clip_id,
        source_id="source",
        collection="demo",
        split="val",
        path=f"clips/{clip_id}.mp4",
        start_seconds=0.0,
        duration_seconds=SECONDS,
        num_frames=NUM_FRAMES,
        fps=FPS,
        width=32,
        height=32,
        sample_rate_hz=RATE_HZ,
        kind="single_sound",
        num_cuts=0,
        bandwidth_hz=8000.0,
        label=label,
        truth_json=truth_json,
        **scores,
    )
