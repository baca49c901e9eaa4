"""`mova bench step`: the plain implementation is the same model, and the figures are what they are called."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from mova_core.bench.parts import PARTS, shares
from mova_core.bench.plain import plain_step
from mova_core.bench.plain_process import plain_process
from mova_core.bench.step import interleaved
from mova_core.bench.step_subject import AUDIO_LENGTH, VIDEO_SHAPE, StepBench, bench_inputs, bench_model, timed
from mova_core.cli import main
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig


def test_the_plain_step_computes_what_the_model_computes() -> None:
    torch.manual_seed(0)
    full = bench_model().config
    video = VideoTowerConfig(
        dim=24, in_dim=36, ffn_dim=40, out_dim=16, text_dim=6, freq_dim=8, num_heads=2, num_layers=3
    )
    audio = type(full.audio)(dim=12, in_dim=5, ffn_dim=20, out_dim=5, text_dim=6, freq_dim=8, num_heads=1, num_layers=2)
    bridge = type(full.bridge)(
        visual_layers=3, audio_layers=2, visual_hidden_dim=24, audio_hidden_dim=12, audio_fps=50.0, head_dim=12
    )
    model = DualTower(DualTowerConfig(video, audio, bridge, num_experts=1))
    inputs = bench_inputs(model.config, rows_used=3)
    inputs["video_latents"], inputs["condition"] = (
        inputs[name][:, :, :2, :4, :6] for name in ("video_latents", "condition")
    )
    for own, plain in zip(model(**inputs), plain_step(model, **inputs), strict=True):
        assert own.abs().max() > 0.01
        torch.testing.assert_close(own, plain, rtol=1e-5, atol=1e-6)


def test_the_measured_step_has_the_size_that_the_figures_are_stated_for() -> None:
    frames, rows, columns = VIDEO_SHAPE
    assert (frames * rows * columns // 4, AUDIO_LENGTH) == (980, 60)


def test_rounds_are_interleaved_and_count_cpu_time_only() -> None:
    order: list[str] = []
    runners = {"a": timed(lambda: order.append("a")), "b": timed(lambda: (order.append("b"), time.sleep(0.05)))}
    seconds = interleaved(runners, 2)
    assert order == ["a", "b", "a", "b"]
    assert all(value < 0.05 for value in seconds["b"])


def test_products_and_activations_are_told_apart() -> None:
    x = torch.randn(256, 256)
    parts = shares(lambda: torch.nn.functional.gelu(x @ x @ x @ x @ x))
    assert set(parts) == {*PARTS, "other"}
    assert sum(parts.values()) == pytest.approx(1)
    assert parts["products"] > parts["norms"] == 0
    assert parts["activations"] > 0


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--threads", "0"], ["--context-rows-used", "513"]])
def test_numbers_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", *arguments]) == 2
    assert f"{arguments[0]} is {arguments[1]}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plain_step_runs_in_a_process_as_pytorch_starts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    with plain_process(StepBench(threads=1)) as run:
        (child,) = (
            path.parent
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.exists() and b"mova_core.bench.plain_process" in path.read_bytes()
        )
        assert b"OMP_WAIT_POLICY" not in (child / "environ").read_bytes()
        assert 0.1 < run() < 60


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--train"]])
def test_one_line_of_json_says_what_a_step_costs(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", *flags, "--rounds", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["cpu_seconds_min"] <= found["cpu_seconds_median"]
    assert sum(found["parts_cpu_seconds"].values()) == pytest.approx(found["cpu_seconds_min"], rel=0.01)
    assert found["plain_floor_cpu_seconds"] < found["plain_here_cpu_seconds_min"]
    assert found["ratio_to_plain"] == pytest.approx(found["cpu_seconds_min"] / found["plain_cpu_seconds_min"], abs=1e-3)
