"""Running a step: scope, report, and the configuration beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mova_core.steps
from mova_core.config import Config, load_config, parse_config, preset_text
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import Step, output_paths, report_path, run_step, step_named
from mova_core.workspace import Workspace

CONFIG = parse_config(preset_text("nano"), source="nano")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What each step's function was called with besides configuration and workspace."""
    seen: list[dict[str, str]] = []

    def function_of(step: Step) -> object:
        def run(config: Config, workspace: Workspace, **scope: str) -> StageReport:
            seen.append(scope)
            return StageReport(step.name, rows_in=1, rows_out=1)

        return run

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    return seen


def test_a_step_gets_its_fixed_arguments_and_its_collection(tmp_path: Path, calls: list[dict[str, str]]) -> None:
    run_step(step_named("train_joint2"), CONFIG, Workspace(tmp_path))
    run_step(step_named("curate"), CONFIG, Workspace(tmp_path), "demo")
    assert calls == [{"phase": "joint2"}, {"collection": "demo"}]


def test_report_and_configuration_are_stored_for_each_scope(tmp_path: Path, calls: list[dict[str, str]]) -> None:
    workspace = Workspace(tmp_path)
    report = run_step(step_named("curate"), CONFIG, workspace, "demo")
    path = report_path(step_named("curate"), workspace, "demo")
    assert StageReport.load(path) == report
    assert load_config(path.with_suffix(".params.yaml")) == CONFIG
    assert sorted(entry.name for entry in workspace.reports.iterdir()) == [
        "curate-demo.json",
        "curate-demo.params.yaml",
    ]


def test_a_wrong_scope_is_refused_before_anything_runs(tmp_path: Path, calls: list[dict[str, str]]) -> None:
    with pytest.raises(UserError, match="expected a collection"):
        run_step(step_named("curate"), CONFIG, Workspace(tmp_path))
    with pytest.raises(UserError, match="expected none"):
        run_step(step_named("encode"), CONFIG, Workspace(tmp_path), "demo")
    assert calls == []


def test_a_closed_output_folder_is_refused_before_anything_runs(
    tmp_path: Path, calls: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    workspace.samples.mkdir(parents=True)
    asked = os.access  # root may write everywhere, so the folder is closed by name
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != workspace.samples and asked(path, mode))
    with pytest.raises(OSError, match="Permission denied") as caught:
        run_step(step_named("sample"), CONFIG, workspace)
    assert str(caught.value.filename) == str(workspace.samples)
    assert calls == []
    run_step(step_named("caption"), CONFIG, workspace, "demo")


def test_outputs_name_the_collection() -> None:
    workspace = Workspace(Path("root"))
    assert output_paths(step_named("curate"), workspace, "mine") == [workspace.clips("mine")]
    assert output_paths(step_named("train_audio"), workspace) == [workspace.run("audio")]


def test_an_unknown_step_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="corpus, ingest"):
        step_named("corpse")
