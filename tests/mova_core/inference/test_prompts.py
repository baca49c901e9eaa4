"""`mova sample --prompts`: every bad line is named, what is done stays done, what changed is noticed."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_workspace import tiny_config

from mova_core.cli import main
from mova_core.data.media import read_clip
from mova_core.files import locked
from mova_core.inference import prompts as prompts_module
from mova_core.inference.defaults import defaults_of
from mova_core.inference.identity import identify
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.saving import read_record

LINES: list[dict[str, Any]] = [
    {"prompt": "a lamp flashes"},
    {"id": "ball", "prompt": "a ball bounces", "seed": 4, "image": "first.png"},
    {"prompt": "a wheel hums", "steps": 3, "text_guidance": 1},
    {"prompt": "a face speaks", "negative_prompt": "a bell"},
    {"prompt": "the bell", "seed": 9},
]
FILES = ["0001.mp4", "ball.mp4", "0003.mp4", "0004.mp4", "0005.mp4"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The tiny checkpoint with defaults of its own: 9 frames of 32x32 in 2 steps."""
    folder = Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("release") / "tiny"))
    defaults_of(tiny_config(), "joint3").save(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Path:
    """A folder with prompts.jsonl and, in batches of two, its clips."""
    folder = tmp_path_factory.mktemp("made")
    cv2.imwrite(str(folder / "first.png"), np.full((40, 40, 3), 90, np.uint8))
    prompts = write(folder / "prompts.jsonl", LINES)
    assert main(words(release, prompts, folder / "clips", "--seed", "5")) == 0
    return folder


@pytest.fixture
def prompts(made: Path, tmp_path: Path) -> Path:
    """A copy of `made`, clips and all."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True)) / "prompts.jsonl"


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def words(release: Path, prompts: Path, out: Path, *options: str) -> list[str]:
    given = ["--prompts", str(prompts), "--out", str(out), "--checkpoint", str(release), "--batch-size", "2"]
    return ["sample", *given, "--seed", "5", *options]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name[0] != "."}


def test_every_line_becomes_a_clip_and_a_row(release: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    found = rows(out)
    assert [row["file"] for row in found] == FILES
    assert [row["seed"] for row in found] == [5, 4, 5, 5, 9]
    assert [row["settings"]["num_steps"] for row in found] == [2, 2, 3, 2, 2]
    assert found[2]["settings"]["text_guidance"] == 1
    assert found[3]["negative_prompt"] == "a bell"
    assert found[1]["given"]["image"]["file"] == "first.png"
    for line, row in zip(LINES, found, strict=True):
        assert row["prompt"] == line["prompt"]
        assert row["sha256"] == hashlib.sha256((out / row["file"]).read_bytes()).hexdigest()
        assert row["model"]["model_hash"] == identify(release).model_hash
        assert read_record(out / row["file"]).items() <= row.items()
        assert read_clip(out / row["file"])[0].shape == (9, 32, 32, 3)


def test_a_second_run_does_nothing(
    release: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "clips"
    before = contents(out)
    monkeypatch.setattr(MovaPipeline, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(words(release, prompts, out)) == 0
    assert "has all 5 clips: nothing to do" in capsys.readouterr().out
    assert contents(out) == before


def test_a_run_that_stops_goes_on_and_ends_as_an_undisturbed_one(
    release: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "clips", tmp_path / "broken"
    save, saved = prompts_module.save_clip, []

    def stops(path: Path, *given: Any, **named: Any) -> str:
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(path.name)
        return save(path, *given, **named)

    monkeypatch.setattr(prompts_module, "save_clip", stops)
    assert main(words(release, prompts, broken)) == 130
    assert len(rows(broken)) == 3
    monkeypatch.setattr(prompts_module, "save_clip", save)
    capsys.readouterr()
    assert main(words(release, prompts, broken)) == 0
    assert "made 2 clips" in capsys.readouterr().out
    assert contents(broken) == contents(whole)


@pytest.mark.slow
def test_a_killed_process_loses_at_most_the_batch_in_hand(release: Path, prompts: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(words(release, prompts, whole, "--steps", "20", "--batch-size", "1")) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "mova_core", *words(release, prompts, killed, "--steps", "20", "--batch-size", "1")]
    )
    deadline = time.monotonic() + 120
    while not ((killed / "manifest.jsonl").exists() and rows(killed)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = rows(killed)
    assert 0 < len(kept) < len(LINES)
    for row in kept:
        assert row["sha256"] == hashlib.sha256((killed / row["file"]).read_bytes()).hexdigest()
    assert main(words(release, prompts, killed, "--steps", "20", "--batch-size", "1")) == 0
    assert contents(killed) == contents(whole)


def test_changed_settings_are_noticed_and_replaced_only_when_told(
    release: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    before = contents(out)
    write(prompts, [{**LINES[0], "prompt": "a bell flashes"}, *LINES[1:], {"prompt": "a new one"}])
    assert main(words(release, prompts, out)) == 2
    said = capsys.readouterr().err
    assert "1 clips in" in said
    assert "(0001)" in said
    assert main(words(release, prompts, out, "--text-guidance", "3")) == 2
    assert "(0001, ball, 0004 and 1 more)" in capsys.readouterr().err
    assert contents(out) == before
    assert main(words(release, prompts, out, "--replace")) == 0
    assert "made 3 clips" in capsys.readouterr().out
    assert [row["prompt"] for row in rows(out)][::5] == ["a bell flashes", "a new one"]


def test_a_clip_that_was_damaged_or_deleted_is_made_again(
    release: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    before = contents(out)
    (out / "ball.mp4").write_bytes(b"damaged")
    (out / "0005.mp4").unlink()
    assert main(words(release, prompts, out)) == 0
    # 0005 shares a batch with 0001, and batches are made whole.
    assert "made 3 clips" in capsys.readouterr().out
    assert contents(out) == before


def test_every_bad_line_is_named_before_any_work(
    release: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MovaPipeline, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "words.txt").write_text("words")
    bad: dict[int, tuple[Any, str]] = {
        2: ("{not json", "not JSON"),
        3: ('["a list"]', "list, not an object"),
        4: ({"prompt": " "}, "the prompt is empty"),
        5: ({"prompt": "x", "sed": 3}, "unknown key sed in that line"),
        6: ({"prompt": "x", "seed": "three"}, "seed is 'three' in that line"),
        7: ({"prompt": "x", "image": "nowhere.png"}, "image: no file at"),
        8: ({"prompt": "x", "image": "words.txt"}, "does not read as a picture"),
        9: ({"prompt": "x", "height": 50}, "height is 50"),
        10: ({"prompt": "x", "frames": 10}, "num_frames is 10"),
        12: ({"prompt": "x", "text_guidance": -1}, "text_guidance is -1"),
        13: ({"id": "../x", "prompt": "x"}, "id is '../x' in that line"),
        14: ({"id": "ONE", "prompt": "x"}, "the id 'ONE' is that of line 1"),
        15: ({"prompt": "x", "seed": -1}, "seed -1"),
        16: ('{"prompt": "x", "bridge_guidance": NaN}', "bridge_guidance is nan"),
        17: ({}, "the prompt is empty"),
    }
    lines = [bad[number][0] if number in bad else "" for number in range(1, 18)]
    lines[0] = {"id": "one", "prompt": "good"}
    out = tmp_path / "other"
    assert main(words(release, write(prompts, lines), out)) == 2
    *said, last = capsys.readouterr().err.splitlines()
    assert len(said) == len(bad)
    for number, (_, message) in bad.items():
        (line,) = [line for line in said if line.startswith(f"line {number} of prompts.jsonl: ")]
        assert message in line
    assert last.startswith(f"mova: {len(bad)} of the lines")
    assert not out.exists()


def test_two_runs_do_not_fill_one_folder_at_once(
    release: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / "clips" / ".lock", "mova sample"):
        assert main(words(release, prompts, tmp_path / "clips")) == 2
    assert "another mova sample is running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "clips"], "--out is given alone"),
        (["--prompts", "FILE"], "--prompts is given alone"),
        (["--prompts", "nowhere.jsonl", "--out", "clips"], "nowhere.jsonl does not read"),
        (["--prompts", "EMPTY", "--out", "clips"], "holds no prompt"),
        (["--prompts", "FILE", "--out", "clips", "--batch-size", "0"], "--batch-size is 0"),
        (["--prompts", "FILE", "--out", "FILE/clips"], "nothing can be written to"),
        (["--prompts", "FILE", "--out", "FOREIGN"], "holds 0001.mp4 and no manifest.jsonl"),
        (["--prompts", "FILE", "--out", "TORN"], "manifest.jsonl does not read"),
    ],
)
def test_bad_options_are_one_line_and_touch_nothing(
    release: Path,
    prompts: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MovaPipeline, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    monkeypatch.chdir(tmp_path)
    for name in ("foreign", "torn"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "0001.mp4").write_bytes(b"mine")
    (tmp_path / "torn" / "manifest.jsonl").write_text('{"id": "0001"}\n')
    write(tmp_path / "empty.jsonl", ["", "  "])
    named = {"FILE": prompts, "EMPTY": "empty.jsonl", "FOREIGN": "foreign", "TORN": "torn"}
    given = [next((w.replace(key, str(p)) for key, p in named.items() if key in w), w) for w in options]
    assert main(["sample", "--checkpoint", str(release), *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert (tmp_path / "foreign" / "0001.mp4").read_bytes() == b"mine"


def test_refined_prompts_are_sampled_and_both_are_in_the_manifest(
    release: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "other"
    write(prompts, [{"prompt": "we hear a bell. a lamp flashes"}])
    assert main(words(release, prompts, out, "--refine", "--url", "")) == 0
    (row,) = rows(out)
    assert row["prompt"] == "A lamp flashes. We hear a bell."
    assert row["refinement"]["original"] == "we hear a bell. a lamp flashes"
    assert main(words(release, prompts, out, "--refine", "--url", "")) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(words(release, prompts, out)) == 2
