"""Small videos with known content, and a workspace to curate them in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mova_core.config import Config, preset_text
from mova_core.config.curation import CaptionConfig, CurateConfig, IngestConfig
from mova_core.config.media import MediaConfig
from mova_core.data.media import MediaWriter
from mova_core.workspace import Workspace

RATE_HZ = 48_000


@pytest.fixture
def config() -> Config:
    """The nano preset's sections that curation reads."""
    values = yaml.safe_load(preset_text("nano"))
    return Config.model_construct(
        seed=values["seed"],
        media=MediaConfig(**values["media"]),
        ingest=IngestConfig(**values["ingest"]),
        curate=CurateConfig(**values["curate"]),
        caption=CaptionConfig(**values["caption"]),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def textured(num_frames: int, height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """A still, sharp, bright picture, `num_frames` times."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(60, 230, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]
    return np.repeat(picture[None], num_frames, axis=0)


def noise(seconds: float, level: float = 0.2, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (level * generator.standard_normal(round(seconds * RATE_HZ))).clip(-1, 1).astype(np.float32)


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """``make_video(path, frames, waveform or None, fps=24, **MediaWriter's options)``."""

    def make(path: Path, frames: np.ndarray, waveform: np.ndarray | None, fps: float = 24.0, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = options.pop("seconds", None)
        with MediaWriter(
            path,
            width=frames.shape[2],
            height=frames.shape[1],
            fps=fps,
            sample_rate_hz=None if waveform is None else RATE_HZ,
            variable_rate=seconds is not None,
            **options,
        ) as writer:
            writer.write_frames(frames, seconds)
            if waveform is not None:
                writer.write_audio(waveform)
        return path

    return make


@pytest.fixture
def plain_video(make_video: Callable[..., Path]) -> Callable[..., Path]:
    """``plain_video(path, seconds=2, seed=0, ...)``: a still picture with noise, nothing wrong with it."""

    def make(path: Path, seconds: float = 2.0, seed: int = 0, **options: Any) -> Path:
        fps = options.pop("fps", 24.0)
        return make_video(path, textured(round(seconds * fps), seed=seed), noise(seconds, seed=seed), fps, **options)

    return make


@pytest.fixture
def still() -> Callable[..., np.ndarray]:
    return textured


@pytest.fixture
def hiss() -> Callable[..., np.ndarray]:
    return noise


def lamp(seconds: float, seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A lamp that flashes at random, and a bell at each flash (`offset` seconds later): frames at 24 fps, waveform."""
    generator = np.random.default_rng(seed)
    events = np.cumsum(generator.uniform(0.4, 0.9, int(seconds / 0.4)))
    events = np.round(events[events < seconds - 0.2] * 24) / 24
    times, instants = np.arange(round(seconds * 24)) / 24, np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    light = np.zeros(times.size)
    sound = 0.002 * generator.standard_normal(instants.size)
    for event in events:
        since, later = times - event, instants - event - offset
        light = np.maximum(light, np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.12), 0))
        bell = 0.5 * np.exp(-np.maximum(later, 0) / 0.15) * np.sin(2 * np.pi * 1320 * later)
        sound += np.where(later >= 0, bell, 0)
    dark = np.kron(generator.integers(40, 130, (4, 4, 3)), np.ones((12, 16, 1)))
    shine = np.full((48, 64, 1), 12.0)
    shine[14:34, 22:42] = 110.0
    frames = np.clip(dark + light[:, None, None, None] * shine, 0, 255).astype(np.uint8)
    return frames, sound.clip(-1, 1).astype(np.float32)


@pytest.fixture
def flashing() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return lamp
