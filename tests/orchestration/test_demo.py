"""`make demo` on steps that take no time: order, history, summary, failure."""

from __future__ import annotations

import errno
from pathlib import Path

import dagster as dg
import pytest
from tiny_lineage import StepFunction

from mova_core.config import preset_text
from mova_core.curation import gates
from mova_core.curation.gates import GateResult
from mova_core.doctor import graphics_processors
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import STEPS, Step, report_path, run_step
from orchestration import assets, demo
from orchestration.demo import main, tasks_of
from orchestration.history import open_history
from orchestration.partitions import COLLECTIONS
from orchestration.resources import LineageFolder


@pytest.fixture
def root(tmp_path: Path, tiny_steps: dict[str, StepFunction], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; training and gates are as quick as the other steps."""

    def train(step: Step, folder: LineageFolder, *rest: object) -> StageReport:
        return run_step(step, folder.config(), folder.workspace())

    monkeypatch.setattr(assets, "_run_training", train)
    monkeypatch.setattr(gates, "check_gates", lambda *arguments: [GateResult("unique_ids", True, "unique", "all rows")])
    monkeypatch.setenv("MOVA_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_asset_is_in_the_history_afterwards_and_the_times_are_told(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root)]) == 0
    captured = capfd.readouterr()
    config = demo.load_config(root / "params.yaml")
    assert (root / "params.yaml").read_text() == preset_text("nano")
    for task in tasks_of(config):
        assert task.label in captured.out
        assert f"{task.label}: {task.step.summary}" in captured.err
    assert "peak memory" in captured.out
    assert "report.html" in captured.out
    with open_history(root) as instance:
        for step in STEPS:
            assert instance.get_latest_materialization_event(dg.AssetKey(step.name)) is not None
        assert set(instance.get_dynamic_partitions(str(COLLECTIONS.name))) == set(config.collections)
        assert len(instance.get_materialized_partitions(dg.AssetKey("curate"))) == len(config.collections)
    assert (root / ".dagster").is_dir()


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (
            UserError("no clips", expected="some", remedy="run `mova curate`"),
            "ingest [demo]: no clips; expected some",
            2,
        ),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "ingest [demo]: the disk is full (x)", 2),
        (RuntimeError("a defect"), "a defect", 1),
    ],
)
def test_the_first_failure_ends_it_and_what_is_done_stays(
    error: Exception,
    words: str,
    code: int,
    root: Path,
    tiny_steps: dict[str, StepFunction],
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object, **scope: object) -> StageReport:
        raise error

    tiny_steps["ingest"] = fail
    assert main(["--root", str(root)]) == code
    assert words in capfd.readouterr().err
    folder = LineageFolder(root=str(root)).workspace()
    assert report_path(STEPS[0], folder).is_file()
    assert not (root / "data" / "ingest").exists()


def test_a_preset_that_does_not_read_ends_in_one_line(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "params.yaml").write_text("seed: []")
    assert main(["--root", str(root)]) == 2
    assert capfd.readouterr().err.startswith("mova: ")


def test_a_preset_too_large_for_the_machine_ends_before_any_work(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if graphics_processors():
        pytest.skip("this machine has a GPU, which the large preset may fit")
    (root / "params.yaml").write_text(preset_text("mova-360p"))
    assert main(["--root", str(root)]) == 2
    said = capfd.readouterr().err
    assert said.startswith("mova: phase audio of preset 'mova-360p' takes at least")
    assert said.count("\n") == 1
    assert [path.name for path in root.iterdir()] == ["params.yaml"]
