"""The compile option: chosen, it compiles whole layers or fails; left out, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_release import tiny_checkpoint
from tiny_workspace import tiny_config, tiny_workspace
from two_processes import in_two_processes

from mova_core.cli import main
from mova_core.errors import UserError
from mova_core.inference.pipeline import MovaPipeline
from mova_core.models.compiling import check_compiler

ONE_STEP: dict[str, Any] = {
    "seed": 1, "height": 32, "width": 32, "num_frames": 9, "num_inference_steps": 1,
    "guidance_scale": 1.0, "bridge_guidance_scale": 1.0, "output_type": "latent",
}  # fmt: skip


def clip(folder: Path, compile: bool) -> tuple[np.ndarray, np.ndarray]:
    pipeline = MovaPipeline.from_pretrained(folder, compile=compile)
    output = pipeline(
        "a lamp", seed=1, height=32, width=32, num_frames=9, num_inference_steps=2,
        guidance_scale=3.0, bridge_guidance_scale=2.0, output_type="latent",
    )  # fmt: skip
    return output.frames.numpy(), output.audio.numpy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, while it compiles
def test_compiled_layers_give_the_same_latents_in_whole_graphs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_checkpoint(tmp_path)
    expected = clip(folder, compile=False)
    torch._dynamo.reset()
    found = clip(folder, compile=True)
    assert "compiling 10 layers" in capsys.readouterr().err
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)


def compiled_in_parts(folder: Path) -> list[torch.Tensor]:
    """Of this process, which has joined another: latents of a clip whose tokens both share."""
    pipeline = MovaPipeline.from_pretrained(folder, compile=True)
    pipeline.model.spread_over_processes()
    output = pipeline("a lamp", **ONE_STEP)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    return [output.frames, output.audio]


@pytest.mark.slow
def test_compiled_layers_exchange_tokens_between_processes(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    output = MovaPipeline.from_pretrained(folder)("a lamp", **ONE_STEP)
    for found in in_two_processes(compiled_in_parts, tmp_path / "rendezvous", folder, seconds=500):
        for own, other in zip(found, (output.frames, output.audio), strict=True):
            np.testing.assert_allclose(own, other.numpy(), atol=1e-4)


def test_a_missing_compiler_is_an_error_and_not_eager_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="there is no no-such-compiler"):
        check_compiler(torch.device("cpu"))


def test_generate_says_so_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    root = tiny_workspace(tmp_path, tiny_config()).root
    out = tmp_path / "clip.mp4"
    assert main(["--root", str(root), "generate", "--prompt", "a lamp", "--compile", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "loading" not in message
    assert "no-such-compiler" in message
