"""The step as a user runs it: processes, ZeRO-3, checkpoints and all, at the smallest size."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_training import tiny_config

from mova_core.config import Config, save_config
from mova_core.errors import UserError
from mova_core.files import locked
from mova_core.models.weights import load_model
from mova_core.training.metrics import read_metrics
from mova_core.training.rundir import RunFolder
from mova_core.training.step import run
from mova_core.workspace import Workspace

pytestmark = pytest.mark.slow

STEPS = 24
PHASE: dict[str, Any] = {"train.phases.joint1": {"steps": STEPS, "decay_steps": 5, "bridge_dropout": 0.4}}
LOSS_TOLERANCE = 1e-5


def long_config(**changes: Any) -> Config:
    return tiny_config(**PHASE, **changes)


def copy_of(start: Workspace, folder: Path) -> Workspace:
    shutil.copytree(start.root, folder)
    return Workspace(folder)


def figures(workspace: Workspace, *names: str) -> list[tuple[Any, ...]]:
    lines = read_metrics(RunFolder(workspace.run("joint1")).metrics)
    return [tuple(line[name] for name in names) for line in lines if all(name in line for name in names)]


def checkpoint_bytes(workspace: Workspace) -> dict[str, bytes]:
    folder = RunFolder(workspace.run("joint1")).checkpoint
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(start: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Phase joint1 of one process, from start to end."""
    workspace = copy_of(start, tmp_path_factory.mktemp("one") / "workspace")
    report = run(long_config(), workspace, "joint1")
    assert report.step == "train_joint1"
    assert (workspace.root / report.previews[0]).read_bytes().startswith(b"\x89PNG")
    assert report.metrics["steps"] == STEPS
    assert report.metrics["averaged_validation_video_loss"] > 0
    assert 0 < report.metrics["gflop_per_second"] < 2 * report.metrics["matmul_ceiling_gflop_per_second"]
    return workspace


def test_every_step_leaves_its_figures(undisturbed: Workspace) -> None:
    lines = read_metrics(RunFolder(undisturbed.run("joint1")).metrics)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["expert"] for line in lines] == ["high_noise", "low_noise"] * (STEPS // 2)
    assert all(line["gradient_norm"] > 0 for line in lines)
    for line in lines:
        assert line["loss"] == pytest.approx(line["video_loss"] + 0.5 * line["audio_loss"])
        assert line["bridge_learning_rate"] == pytest.approx(2 * line["learning_rate"])
        assert ("validation_video_loss" in line) == (line["step"] % 4 == 0 and line["step"] < STEPS)


def test_the_checkpoint_loads_and_the_state_is_gone(undisturbed: Workspace) -> None:
    folder = RunFolder(undisturbed.run("joint1"))
    before, after = (load_model(one) for one in (RunFolder(undisturbed.run("audio")).checkpoint, folder.checkpoint))
    moved = [not old.equal(new) for old, new in zip(before.parameters(), after.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert not folder.state.exists()


def test_a_finished_phase_is_left_alone(undisturbed: Workspace) -> None:
    before = checkpoint_bytes(undisturbed)
    report = run(long_config(), undisturbed, "joint1")
    assert report.notes
    assert report.metrics["steps"] == STEPS
    assert checkpoint_bytes(undisturbed) == before


def test_two_processes_train_as_one_does(undisturbed: Workspace, start: Workspace, tmp_path: Path) -> None:
    workspace = copy_of(start, tmp_path / "workspace")
    run(long_config(**{"train.engine.processes": 2}), workspace, "joint1")
    for names in (("loss", "video_loss", "audio_loss", "gradient_norm"), ("validation_video_loss",)):
        one, two = figures(undisturbed, *names), figures(workspace, *names)
        assert len(two) == len(one) >= 5
        for expected, found in zip(one, two, strict=True):
            assert found == pytest.approx(expected, rel=LOSS_TOLERANCE)


def test_killed_and_run_again_it_ends_as_if_undisturbed(
    undisturbed: Workspace, start: Workspace, tmp_path: Path
) -> None:
    workspace, config = copy_of(start, tmp_path / "workspace"), long_config()
    save_config(config, workspace.params)
    command = [sys.executable, "-m", "mova_core", "--root", str(workspace.root), "train", "--phase", "joint1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = RunFolder(workspace.run("joint1"))
    wait_until(lambda: any(folder.state.glob("step_*")) or process.poll() is not None)
    workers = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert workers
    assert not folder.summary.exists()
    wait_until(lambda: not any(is_running(worker) for worker in workers))
    run(config, workspace, "joint1")
    for names in (("step", "loss", "gradient_norm", "learning_rate"), ("step", "validation_video_loss")):
        assert figures(workspace, *names) == figures(undisturbed, *names)
    assert checkpoint_bytes(workspace) == checkpoint_bytes(undisturbed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train.phases.joint1": {"height": 48, "width": 48}}, "48x48"),
        ({"model.kernels": "triton"}, "model.kernels is 'triton'"),
    ],
)
def test_what_cannot_begin_ends_in_one_line_and_leaves_the_finished_run(
    change: dict[str, Any], words: str, undisturbed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # tests of `kernels` in the same process ask for it
    before = checkpoint_bytes(undisturbed)
    with pytest.raises(UserError, match=words):
        run(tiny_config(**change), undisturbed, "joint1")
    assert checkpoint_bytes(undisturbed) == before
    assert run(long_config(), undisturbed, "joint1").notes, "it is still finished"


def test_a_second_run_of_a_phase_waits_for_nobody(start: Workspace, tmp_path: Path) -> None:
    workspace = copy_of(start, tmp_path / "workspace")
    with (
        locked(workspace.training / "joint1.lock", "test"),
        pytest.raises(UserError, match="another training of phase"),
    ):
        run(long_config(), workspace, "joint1")


def test_a_full_disk_ends_in_one_line_and_the_next_run_goes_on(
    undisturbed: Workspace, start: Workspace, tmp_path: Path
) -> None:
    workspace = copy_of(start, tmp_path / "workspace")
    save_config(long_config(), workspace.params)
    command = [sys.executable, "-m", "mova_core", "--root", str(workspace.root), "train", "--phase", "joint1"]
    blocks = 20  # of 1 KiB: enough for a line of metrics, too few for weights
    limited = subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command], capture_output=True, text=True, check=False
    )
    assert limited.returncode == 2, limited.stderr
    assert limited.stderr.splitlines()[-1].startswith("mova: a file may not grow that large here")
    assert "Traceback" not in limited.stderr
    run(long_config(), workspace, "joint1")
    assert checkpoint_bytes(workspace) == checkpoint_bytes(undisturbed)


def wait_until(condition: Any, seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
