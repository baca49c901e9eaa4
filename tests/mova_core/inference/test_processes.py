"""`torchrun ... mova generate` and `mova sample`: two processes do what one does; what they are refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from tiny_workspace import tiny_config, tiny_workspace

from mova_core import cli
from mova_core.cli import main
from mova_core.data.media import read_clip

SECONDS = 300
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if started as the first of two processes."""
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)


def torchrun(num_processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, str(num_processes), "-m", "mova_core", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=ONE_THREAD,
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
def test_the_lineages_own_sets_are_refused_to_several_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path), "sample"]) == 2
    message = capsys.readouterr().err
    assert "2 processes run `mova sample` together" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--prompt", "a lamp", "--out", "OUT.mp4"],
        ["sample", "--prompts", "PROMPTS", "--out", "OUT", "--parallel", "sequence"],
    ],
)
def test_three_processes_for_two_heads_are_refused_before_weights_are_read(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_workspace(tmp_path, tiny_config()).root
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a lamp"}\n')
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    named = [
        w.replace("PROMPTS", str(tmp_path / "prompts.jsonl")).replace("OUT", str(tmp_path / "out")) for w in arguments
    ]
    assert main(["--root", str(root), *named]) == 2
    assert "2 video heads for 3 processes" in capsys.readouterr().err


def test_the_first_process_says_what_all_meet_and_the_others_only_if_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    said = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(["--root", str(tmp_path), "sample"]) == 2
        said.append(capsys.readouterr().err)
        assert waited == ([] if rank == "0" else [cli.SECONDS_FOR_THE_FIRST])
    assert said[0].startswith("mova: 2 processes run `mova sample` together")
    assert said[1].startswith("mova: process 1: 2 processes run")


@pytest.mark.usefixtures("together")
def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    root = tiny_workspace(tmp_path, tiny_config()).root
    assert main(["--root", str(root), "generate", "--prompt", "a lamp", "--out", str(tmp_path / "clip.mp4")]) == 2
    assert "1 GPUs and at least 2 processes" in capsys.readouterr().err


def prompts_in(folder: Path, *more: str) -> list[str]:
    """What `mova sample` is told of five prompts of 9 frames, which lie in a tiny workspace."""
    root = tiny_workspace(folder / "workspace", tiny_config()).root
    lines = [{"prompt": f"a {word}", "seed": seed} for seed, word in enumerate(("lamp", "ball", "bell", "wheel"))]
    lines.append({"prompt": "we hear a bell. a face speaks", "steps": 3})
    (folder / "prompts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return ["--root", str(root), "sample", "--prompts", str(folder / "prompts.jsonl"), *more]


def contents(out: Path) -> dict[str, bytes]:
    """Without the lock, and what a killed process was about to rename."""
    return {
        path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix == ".jsonl" or path.name[0] != "."
    }


@pytest.mark.slow
def test_two_processes_that_share_prompts_make_the_files_of_one(tmp_path: Path) -> None:
    words = prompts_in(tmp_path, "--refine", "--url", "", "--lossless-audio")
    for count in (1, 2):
        done = torchrun(count, *words, "--out", str(tmp_path / str(count)))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("made 5 clips") == 1
        assert done.stderr.count("loading") == 1
    assert len(contents(tmp_path / "1")) == 5 + 5 + 1
    assert contents(tmp_path / "2") == contents(tmp_path / "1")
    assert b"A face speaks. We hear a bell." in contents(tmp_path / "2")["manifest.jsonl"]


@pytest.mark.slow
def test_two_processes_that_share_each_clip_make_the_clips_of_one(tmp_path: Path) -> None:
    words = prompts_in(tmp_path, "--refine", "--url", "", "--lossless-audio", "--batch-size", "2")
    words += ["--parallel", "sequence", "--text-guidance", "3", "--bridge-guidance", "2"]
    rows = []
    for count in (1, 2):
        done = torchrun(count, *words, "--out", str(tmp_path / str(count)))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("made 5 clips") == 1
        lines = (tmp_path / str(count) / "manifest.jsonl").read_text().splitlines()
        rows.append([{**json.loads(line), "sha256": ""} for line in lines])
    assert rows[0] == rows[1]
    assert len(rows[0]) == 5
    for row in rows[0]:
        clips = [read_clip(tmp_path / count / row["file"])[0].astype(int) for count in "12"]
        sounds = [wavfile.read(tmp_path / count / f"{row['file']}.wav")[1] for count in "12"]
        np.testing.assert_allclose(sounds[0], sounds[1], atol=1e-5)
        assert np.abs(clips[0] - clips[1]).mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["prompts", "sequence"])
@pytest.mark.parametrize("rank", [0, 1])
def test_after_any_process_is_killed_the_same_command_ends_as_an_undisturbed_one(
    parallel: str, rank: int, tmp_path: Path
) -> None:
    words = prompts_in(tmp_path, "--steps", "40", "--parallel", parallel)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert torchrun(2, *words, "--out", str(whole)).returncode == 0
    with subprocess.Popen(
        [*TORCHRUN, "2", "-m", "mova_core", *words, "--out", str(killed)],
        env=ONE_THREAD,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        wait_for(lambda: list(killed.glob("*.mp4")), launcher)
        os.kill(process_of(launcher.pid, rank), signal.SIGKILL)
        said = launcher.communicate(timeout=SECONDS)[1]
    assert launcher.returncode != 0
    assert f"rank      : {rank}" in said
    assert len(list(killed.glob("*.mp4"))) < 5
    again = torchrun(2, *words, "--out", str(killed))
    assert again.returncode == 0, again.stderr
    made, there = (int(number) for number in re.findall(r"made (\d) clips.*other (\d) were there", again.stdout)[0])
    assert made + there == 5
    assert contents(killed) == contents(whole)


def wait_for(found: Callable[[], object], launcher: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not found():
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def process_of(launcher: int, rank: int) -> int:
    """The process that torchrun started as that rank."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no process {rank} under {launcher}")


@pytest.mark.slow
def test_a_bad_line_is_said_once_and_every_process_ends_with_2(tmp_path: Path) -> None:
    words = prompts_in(tmp_path)
    with (tmp_path / "prompts.jsonl").open("a") as stream:
        stream.write('{"prompt": "x", "frames": 10}\n')
    done = torchrun(2, *words, "--out", str(tmp_path / "out"))
    assert done.returncode != 0  # torchrun's own, whatever its processes end with
    assert done.stderr.count("mova: ") == 1
    assert done.stderr.count("\nmova: 1 of the lines in") == 1
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "out").exists()
