"""`mova corpus` as a whole: what it leaves on the disk, and that it can be stopped at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenedetect import AdaptiveDetector, ContentDetector, detect

from mova_core.config import Config, dump_config
from mova_core.curation.corpus import step
from mova_core.curation.executor import WorkerLost
from mova_core.data.media import iter_frames, probe, read_audio
from mova_core.data.truth import SourceTruth
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.workspace import Workspace

SmallConfig = Callable[..., Config]


class InThisProcess:
    """Stands for the process pool: the same functions, one after the other."""

    rendered: list[str]

    def __init__(self, num_workers: int) -> None:
        InThisProcess.rendered = []

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            InThisProcess.rendered.append(task.stem)
            yield index, function(task)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> type[InThisProcess]:
    monkeypatch.setattr(step, "LocalExecutor", InThisProcess)
    return InThisProcess


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(small_config: SmallConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, StageReport]:
    workspace = Workspace(tmp_path_factory.mktemp("corpus"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "LocalExecutor", InThisProcess)
        return workspace, step.run(small_config(), workspace)


def test_every_video_has_its_truth_and_the_footage_its_credit(made: tuple[Workspace, StageReport]) -> None:
    workspace, report = made
    demo, footage = workspace.raw("demo"), workspace.raw("footage")
    videos = sorted(demo.glob("*.mp4"))
    assert report.metrics["files"] == len(videos) == 3
    assert report.rows_out == len(videos) + 2
    for video in videos:
        truth = SourceTruth.load(demo / "labels" / f"{video.stem}.json")
        found = probe(video)
        assert truth.video == video.name
        assert found.duration_seconds == pytest.approx(truth.duration_seconds, abs=1e-4)
        assert truth.shots[-1].end_seconds == pytest.approx(truth.duration_seconds)
        assert read_audio(video, found.sample_rate_hz).size == round(truth.duration_seconds * found.sample_rate_hz)
    assert {path.name for path in footage.iterdir()} == {"dog.mp4", "movie-hello.mp4", "README.md"}
    assert "CC-BY-SA-4.0" in (footage / "README.md").read_text(encoding="utf-8")
    assert report.metrics["minutes"] == pytest.approx(sum(probe(v).duration_seconds for v in videos) / 60, abs=1e-4)
    assert report.metrics["frames_per_second"] > 0
    assert report.metrics["clips_that_fit"] >= 2 * len(videos)
    for preview in report.previews:
        assert (workspace.root / preview).read_bytes().startswith(b"\x89PNG")


def test_the_sound_in_the_file_starts_where_the_truth_says(made: tuple[Workspace, StageReport]) -> None:
    """Through the encoder and the container, to 2 ms: the codec smears, but does not shift."""
    demo = made[0].raw("demo")
    errors = []
    for video in sorted(demo.glob("*.mp4")):
        sound = np.abs(read_audio(video, 48_000))
        for event in (e for s in SourceTruth.load(demo / "labels" / f"{video.stem}.json").shots for e in s.events):
            around = sound[round((event.audio_seconds - 0.02) * 48_000) : round((event.audio_seconds + 0.03) * 48_000)]
            level = max(0.25 * around.max(), 2 * around[:480].max())
            errors.append(int(np.argmax(around > level)) / 48_000 - 0.02)
    assert len(errors) > 10
    assert abs(np.median(errors)) < 0.002
    assert np.abs(errors).max() < 0.01


@pytest.mark.parametrize("detector", [ContentDetector(threshold=30), AdaptiveDetector(min_content_val=30)])
def test_shot_detection_finds_the_cuts_and_only_the_cuts(
    made: tuple[Workspace, StageReport], detector: ContentDetector
) -> None:
    demo = made[0].raw("demo")
    video = max(demo.glob("*.mp4"), key=lambda path: path.stat().st_size)
    cuts = [shot.start_seconds for shot in SourceTruth.load(demo / "labels" / f"{video.stem}.json").shots]
    found = [start.seconds for start, _ in detect(str(video), detector)]
    assert found == pytest.approx(cuts, abs=0.005)


def test_a_second_run_renders_nothing_and_changes_no_byte(
    made: tuple[Workspace, StageReport], small_config: SmallConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = made
    before = digests(workspace.raw_root)
    monkeypatch.setattr(step, "LocalExecutor", None)
    report = step.run(small_config(), workspace)
    assert digests(workspace.raw_root) == before
    assert "frames_per_second" not in report.metrics


def test_what_is_missing_is_made_again_byte_for_byte(
    made: tuple[Workspace, StageReport], small_config: SmallConfig, in_this_process: type[InThisProcess]
) -> None:
    workspace, _ = made
    demo = workspace.raw("demo")
    before = digests(workspace.raw_root)
    (demo / "labels" / "demo-0001.json").unlink()
    (demo / "demo-0002.mp4").unlink()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (demo / f".demo-0002.{gone.pid}.tmp.mp4").write_bytes(b"half a video")
    (workspace.raw("footage") / "dog.mp4").write_bytes(b"half a dog")
    step.run(small_config(), workspace)
    assert in_this_process.rendered == ["demo-0001", "demo-0002"]
    assert digests(workspace.raw_root) == before


def test_a_file_that_another_run_is_writing_is_left_alone(
    made: tuple[Workspace, StageReport], small_config: SmallConfig
) -> None:
    unfinished = made[0].raw("demo") / f".demo-0001.{os.getpid()}.tmp.mp4"
    unfinished.write_bytes(b"half a video")
    step.run(small_config(), made[0])
    assert unfinished.exists()
    unfinished.unlink()


def test_another_seed_starts_over_and_spares_what_is_not_its_own(
    small_config: SmallConfig, tmp_path: Path, in_this_process: type[InThisProcess]
) -> None:
    workspace = Workspace(tmp_path)
    step.run(small_config(minutes=0.2), workspace)
    before = digests(workspace.raw("demo"))
    (workspace.raw("demo") / "mine.mp4").write_bytes(b"the user's own")
    step.run(small_config(minutes=0.1, seed=99), workspace)
    after = digests(workspace.raw("demo"))
    assert (workspace.raw("demo") / "mine.mp4").read_bytes() == b"the user's own"
    assert not (workspace.raw("demo") / "demo-0001.mp4").exists()
    assert after["demo-0000.mp4"] != before["demo-0000.mp4"]


def test_a_worker_that_dies_ends_in_one_line(
    small_config: SmallConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(InThisProcess):
        def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
            yield 0, WorkerLost("killed")

    monkeypatch.setattr(step, "LocalExecutor", Dying)
    with pytest.raises(UserError, match=r"demo-0000\.mp4 was killed"):
        step.run(small_config(), Workspace(tmp_path))


def test_killed_in_the_middle_and_run_again_ends_the_same(
    made: tuple[Workspace, StageReport], small_config: SmallConfig, tmp_path: Path
) -> None:
    """With real processes: SIGKILL as soon as the first video is there, then the same command again."""
    (tmp_path / "params.yaml").write_text(dump_config(small_config()), encoding="utf-8")
    command = [sys.executable, "-m", "mova_core", "--root", str(tmp_path), "corpus"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("data/raw/demo/*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 0, second.stderr
    assert digests(tmp_path / "data/raw") == digests(made[0].raw_root)
    report = json.loads((tmp_path / "data/reports/corpus.json").read_text(encoding="utf-8"))
    assert report["metrics"]["files"] == 3


def test_frames_of_the_demo_decode_in_order(made: tuple[Workspace, StageReport]) -> None:
    for video in made[0].raw("demo").glob("*.mp4"):
        instants = [frame.seconds for frame in iter_frames(video)]
        assert np.diff(instants) == pytest.approx(1 / probe(video).fps, abs=1e-4)
