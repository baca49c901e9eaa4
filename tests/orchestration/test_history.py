"""Locks and abandoned runs: what a killed process leaves does not stop what comes after."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mova_core.errors import UserError
from orchestration.history import DEMO_TAG, close_abandoned_runs, held, is_held
from orchestration.ui import main


def started_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    """A run that began and never ended."""
    run = instance.create_run_for_job(dg.job(name="any")(lambda: None), tags=tags)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=20,
            user_message="",
            run_id=run.run_id,
            timestamp=0.0,
            job_name="any",
            dagster_event=dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="any"),
        )
    )
    return run.run_id


def test_one_process_holds_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from orchestration.history import held\n"
        "with held(Path(sys.argv[1]), 'demo'):\n    print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path, "demo")
        assert not is_held(tmp_path, "interface")
        with pytest.raises(UserError, match="another demo is running"), held(tmp_path, "demo"):
            pass
    finally:
        process.kill()
        process.communicate()
    assert not is_held(tmp_path, "demo")
    with held(tmp_path, "demo"):
        assert is_held(tmp_path, "demo")


def test_only_runs_of_the_kind_that_ended_are_closed(instance: dg.DagsterInstance) -> None:
    demo = started_run(instance, {DEMO_TAG: "true"})
    other = started_run(instance, {})
    assert close_abandoned_runs(instance, of_demo=True) == [demo]
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {demo: dg.DagsterRunStatus.FAILURE, other: dg.DagsterRunStatus.STARTED}
    assert close_abandoned_runs(instance, of_demo=True) == []
    assert close_abandoned_runs(instance, of_demo=False) == [other]


def test_a_second_interface_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestration.ui.SETTINGS_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    with held(tmp_path, "interface"):
        assert main([]) == 2
    assert "another interface is running" in capsys.readouterr().err
