"""`torchrun ... mova generate`: one clip by two processes, and what two processes are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from tiny_workspace import tiny_config, tiny_workspace

from mova_core.cli import main
from mova_core.data.media import read_clip

SECONDS = 300


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if started as the first of two processes."""
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)


def torchrun(num_processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    return subprocess.run(
        [*command, "-m", "mova_core", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_two_processes_make_the_clip_of_one(tmp_path: Path) -> None:
    root = tiny_workspace(tmp_path / "workspace", tiny_config()).root
    clips, sounds = [], []
    for count in (1, 2):
        out = tmp_path / f"{count}.mp4"
        options = ["--prompt", "a lamp", "--text-guidance", "3", "--bridge-guidance", "2", "--lossless-audio"]
        done = torchrun(count, "--root", str(root), "generate", *options, "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote") == 1
        assert done.stderr.count("loading") == 1
        clips.append(read_clip(out)[0].astype(int))
        sounds.append(wavfile.read(f"{out}.wav")[1])
    np.testing.assert_allclose(sounds[0], sounds[1], atol=1e-5)
    assert np.abs(sounds[0]).max() > 0.01
    # A number in a thousand may round to the neighbouring grey, and the encoder spreads it.
    assert np.abs(clips[0] - clips[1]).mean() < 0.05
    assert sorted(path.name for path in tmp_path.glob("2.mp4*")) == ["2.mp4", "2.mp4.json", "2.mp4.wav"]


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("arguments", [["sample"], ["sample", "--prompts", "some.jsonl", "--out", "clips"]])
def test_sampling_a_set_is_refused_to_several_processes(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path), *arguments]) == 2
    message = capsys.readouterr().err
    assert "2 processes run `mova sample" in message
    assert message.count("\n") == 1


def test_three_processes_for_two_heads_are_refused_before_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_workspace(tmp_path, tiny_config()).root
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    assert main(["--root", str(root), "generate", "--prompt", "a lamp", "--out", str(tmp_path / "clip.mp4")]) == 2
    assert "2 video heads for 3 processes" in capsys.readouterr().err


def test_only_the_first_process_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["--root", str(tmp_path), "sample"]) == 2
    assert capsys.readouterr().err == ""
