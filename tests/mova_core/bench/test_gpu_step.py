"""`mova bench gpu-step` on the CPU with a tiny model: every mode measured, one JSON file, refusals with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mova_core.bench.gpu_step import GpuStepBench, run_gpu_step_bench, subject_of, tiny_config
from mova_core.bench.random_weights import random_model
from mova_core.cli import main
from mova_core.errors import UserError
from mova_core.inference.placement.room import Room


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("benchmarks")
    printed = run_gpu_step_bench(GpuStepBench(device="cpu", preset="tiny", rounds=2, out=folder))
    (path,) = folder.iterdir()
    stored: dict[str, object] = json.loads(path.read_text())
    assert stored == json.loads(json.dumps(printed))
    return stored


def test_every_mode_is_timed_for_both_experts(result: dict[str, object]) -> None:
    modes = result["modes"]
    assert isinstance(modes, dict)
    assert list(modes) == ["resident", "swap", "stream"]
    for measured in modes.values():
        assert len(measured["seconds"]) == 2 * 2
        assert 0 < measured["seconds_min"] <= measured["seconds_median"] <= measured["seconds_max"]
        assert len(measured["first_step_seconds_of_each_expert"]) == 2
    assert modes["resident"]["streamed_bytes_an_evaluation"] == 0
    assert modes["stream"]["streamed_bytes_an_evaluation"] > 0


def test_utilisation_is_the_share_of_a_peak_measured_in_the_same_run(result: dict[str, object]) -> None:
    modes, flops = result["modes"], result["flop_an_evaluation"]
    assert isinstance(modes, dict)
    assert isinstance(flops, dict)
    resident = modes["resident"]
    expected = flops["total"] * result["evaluations_a_step"] / resident["seconds_median"]  # type: ignore[operator]
    peak = result["measured_product_flop_per_second"]
    assert resident["model_flops_utilisation"] == pytest.approx(expected / peak, abs=1e-4)  # type: ignore[operator]
    assert result["evaluations_a_step"] == 2


def test_a_result_says_what_made_it(result: dict[str, object]) -> None:
    for name in ("device", "commit", "edited_since_commit", "versions", "measured_at", "dtype", "clip", "tokens"):
        assert result[name] not in ("", {}), name


def test_a_mode_that_does_not_fit_is_recorded_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova_core.inference.placement.placement.room_on", lambda device, held: Room("cpu", 1000, 1000))
    result = run_gpu_step_bench(GpuStepBench("cpu", "tiny", ("swap",), 1, tmp_path))
    assert "memory mode swap needs" in result["modes"]["swap"]["refused"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_how_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu-step"]) == 2
    assert "--device cpu --preset tiny" in capsys.readouterr().err


def test_no_rounds_and_unknown_presets_are_refused() -> None:
    with pytest.raises(UserError, match="--rounds is 0"):
        run_gpu_step_bench(GpuStepBench("cpu", "tiny", rounds=0, out=None))
    with pytest.raises(UserError, match="huge"):
        run_gpu_step_bench(GpuStepBench("cpu", "huge", out=None))


def test_random_weights_share_memory_between_layers_and_stay_finite_through_them() -> None:
    subject = subject_of("tiny")
    model = random_model(tiny_config(), torch.float32)
    storages = {weight.untyped_storage().data_ptr(): weight.nbytes for weight in model.parameters()}
    assert sum(storages.values()) < 0.5 * sum(weight.nbytes for weight in model.parameters())
    with torch.no_grad():
        video, audio = model(
            torch.randn(1, *subject.video),
            torch.randn(1, 20, *subject.video[1:]),
            torch.randn(1, *subject.audio),
            torch.tensor([500.0]),
            torch.tensor([500.0]),
            torch.randn(1, 16, 32),
            expert="low_noise",
            video_fps=24.0,
        )
    assert video.isfinite().all()
    assert audio.isfinite().all()
    assert 0.01 < float(video.std()) < 100
