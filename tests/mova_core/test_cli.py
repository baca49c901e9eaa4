"""The command line: what a person types, and what a person reads."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import mova_core.steps
from mova_core.cli import REFUSAL_VARIABLE, main
from mova_core.config import Config, preset_text
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import Step
from mova_core.workspace import Workspace


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Replaces the steps' functions; collects which ran, on which collection."""
    seen: list[tuple[str, str | None]] = []

    def function_of(step: Step) -> object:
        def run(config: Config, workspace: Workspace, **scope: str) -> StageReport:
            seen.append((step.name, scope.get("collection")))
            return StageReport(step.name, rows_in=2, rows_out=2)

        return run

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    return seen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(preset_text("nano"))
    return tmp_path


def test_init_writes_the_preset_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "init"]) == 0
    assert (tmp_path / "params.yaml").read_text() == preset_text("nano")
    assert "from preset nano" in capsys.readouterr().out


def test_init_replaces_an_untouched_preset_but_asks_before_an_edited_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root), "init"]) == 0
    edited = preset_text("nano").replace("seed: 20260", "seed: 7")
    (root / "params.yaml").write_text(edited)
    assert main(["--root", str(root), "init"]) == 2
    assert "use --force" in capsys.readouterr().err
    assert (root / "params.yaml").read_text() == edited
    assert main(["--root", str(root), "init", "--force"]) == 0
    assert (root / "params.yaml").read_text() == preset_text("nano")


def test_init_prints_without_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "init", "--print"]) == 0
    assert capsys.readouterr().out == preset_text("nano")
    assert not (tmp_path / "params.yaml").exists()


def test_an_unknown_preset_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "init", "--preset", "giant"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nano" in error


def test_a_verb_runs_its_step_on_every_collection_or_on_the_named_one(
    root: Path, ran: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root), "curate"]) == 0
    assert main(["--root", str(root), "curate", "--collection", "footage"]) == 0
    assert ran == [("curate", "demo"), ("curate", "footage"), ("curate", "footage")]
    assert capsys.readouterr().out.count("curate: 2 rows") == 3


def test_train_runs_the_phase_and_only_that(root: Path, ran: list[tuple[str, str | None]]) -> None:
    assert main(["--root", str(root), "train", "--phase", "joint2"]) == 0
    assert ran == [("train_joint2", None)]


def test_a_collection_that_is_not_listed_is_refused_with_the_remedy(
    root: Path, ran: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root), "ingest", "--collection", "mine"]) == 2
    assert "add it to `collections`" in capsys.readouterr().err
    assert ran == []


def test_no_configuration_names_the_command_that_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "encode"]) == 2
    assert "mova init --preset nano" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("no checkpoint", expected="one", remedy="train first"), "no checkpoint; expected one; train first"),
        (OSError(errno.ENOSPC, "No space left on device", "x.mp4"), "the disk is full (x.mp4)"),
        (PermissionError(errno.EACCES, "Permission denied", "data"), "no access to data (Permission denied)"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(
    root: Path, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def function_of(step: Step) -> object:
        def run(config: Config, workspace: Workspace, **scope: str) -> StageReport:
            raise error

        return run

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    assert main(["--root", str(root), "encode"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"mova: {words}")
    assert captured.err.count("\n") == 1


def test_a_defect_keeps_its_traceback(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def function_of(step: Step) -> object:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x")

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    with pytest.raises(FileNotFoundError):
        main(["--root", str(root), "encode"])


def test_an_interrupt_is_one_line_that_says_how_to_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def function_of(step: Step) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    assert main(["--root", str(root), "encode"]) == 130
    assert capsys.readouterr().err == "mova: interrupted; the same command goes on where this one stopped\n"


def test_the_line_reaches_the_program_that_started_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(REFUSAL_VARIABLE, str(tmp_path / "refusal"))
    assert main(["--root", str(tmp_path), "encode"]) == 2
    assert capsys.readouterr().err == f"mova: {(tmp_path / 'refusal').read_text()}\n"
