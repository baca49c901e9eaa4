"""Weights lie in host memory once, and a run takes what was said before it: measured on a checkpoint of 150 MB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_release import AUDIO_CHANNELS, HOP, SAMPLE_RATE_HZ, TEXT_DIM, VIDEO_CHANNELS, tiny_codecs

from mova_core.bench.memory import MemoryBench, measure_mode, run_memory_bench
from mova_core.cli import main
from mova_core.diffusion.scheduler import Scheduler
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig
from mova_core.models.weights import save_model

MEGABYTE = 10**6
SLACK_BYTES = 16 * MEGABYTE
"""Of the interpreter, threads and the allocator's blocks."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_codecs(folder)
    Scheduler(video_shift=2.0, audio_shift=3.0, num_given_frames=1).save(folder)
    shape = {"num_layers": 3, "freq_dim": 64, "text_dim": TEXT_DIM}
    config = DualTowerConfig(
        video=VideoTowerConfig(
            dim=576, ffn_dim=2304, num_heads=6, in_dim=2 * VIDEO_CHANNELS + 4, out_dim=VIDEO_CHANNELS, **shape
        ),
        audio=AudioTowerConfig(
            dim=96, ffn_dim=192, num_heads=1, in_dim=AUDIO_CHANNELS, out_dim=AUDIO_CHANNELS, **shape
        ),
        bridge=BridgeConfig(
            visual_layers=3,
            audio_layers=3,
            visual_hidden_dim=576,
            audio_hidden_dim=96,
            audio_fps=SAMPLE_RATE_HZ / HOP,
            head_dim=96,
        ),
    )
    torch.manual_seed(0)
    save_model(DualTower(config), folder)
    return folder


@pytest.fixture(scope="module")
def streamed(checkpoint: Path) -> dict[str, Any]:
    """What one mode took, in a process that has done nothing else."""
    result = run_memory_bench(MemoryBench(checkpoint, modes=("stream",), height=128, width=128, num_frames=17))
    assert result["stored_bytes"] > 140 * MEGABYTE
    found: dict[str, Any] = result["modes"]["stream"]
    return found


def test_the_weights_are_mapped_and_never_copied(streamed: dict[str, Any]) -> None:
    assert streamed["host_own_bytes_while_loading"] < SLACK_BYTES


def test_a_run_takes_what_was_said_before_it(streamed: dict[str, Any]) -> None:
    layer = 4 * (8 * 576**2 + 2 * 576 * 2304)
    assert streamed["needed_host_bytes"] > 4 * layer, "two buffers and two to stage"
    assert streamed["host_own_bytes_of_the_run"] < streamed["needed_host_bytes"] + SLACK_BYTES
    assert streamed["host_own_bytes_of_the_run"] > 0.8 * streamed["needed_host_bytes"]


def test_the_command_prints_one_line_of_json(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova_core.bench.memory.in_own_process", measure_mode)
    arguments = ["--modes", "swap", "--height", "32", "--width", "32", "--num-frames", "5"]
    assert main(["bench", "memory", "--checkpoint", str(checkpoint), *arguments]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)["modes"]) == {"swap"}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "memory", "--checkpoint", str(tmp_path / "absent")]) == 2
    assert "expected a checkpoint" in capsys.readouterr().err
