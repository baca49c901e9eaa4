"""The gates as Dagster's asset check: shown when they hold, shown and blocking when they do not."""

from __future__ import annotations

import dagster as dg
import pytest
from tiny_lineage import StepFunction

from mova_core.curation import gates
from mova_core.curation.gates import GateResult
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import step_named
from orchestration.checks import CHECK_NAME, gate_check_specs
from orchestration.definitions import defs
from orchestration.partitions import COLLECTIONS
from orchestration.resources import LineageFolder

HELD = GateResult("unique_ids", True, "unique", "all 9 rows")
BROKEN = GateResult("files_there", False, "file_bytes: min_value 1", "2 of 9 rows fail")


def curate(folder: LineageFolder, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(str(COLLECTIONS.name), ["demo"])
    resources = {"folder": folder, "pipes": dg.PipesSubprocessClient()}
    job = dg.Definitions(assets=defs.assets, resources=resources).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in ("curate", *names)],
        partition_key="demo",
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def only_check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (check,) = result.get_asset_check_evaluations()
    return check


def test_only_the_clips_are_checked_and_the_check_blocks() -> None:
    (spec,) = gate_check_specs(step_named("curate"))
    assert spec.blocking
    assert gate_check_specs(step_named("encode")) == []


def test_gates_that_hold_are_shown_one_by_one(
    folder: LineageFolder,
    instance: dg.DagsterInstance,
    tiny_steps: dict[str, StepFunction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "check_gates", lambda config, workspace, collection: [HELD])
    result = curate(folder, instance)
    assert result.success
    check = only_check(result)
    assert (check.check_name, check.passed) == (CHECK_NAME, True)
    assert check.metadata["collection"].value == "demo"
    (row,) = check.metadata["gates"].value.records  # type: ignore[union-attr]  # a table
    assert row.data == {"gate": "unique_ids", "passed": True, "expected": "unique", "observed": "all 9 rows"}


def test_a_gate_that_does_not_hold_stops_what_follows(
    folder: LineageFolder,
    instance: dg.DagsterInstance,
    tiny_steps: dict[str, StepFunction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "check_gates", lambda config, workspace, collection: [HELD, BROKEN])
    result = curate(folder, instance, "caption")
    assert not result.success
    assert not only_check(result).passed
    assert not (folder.workspace().captions("demo")).exists()


def test_a_step_that_refuses_its_own_clips_shows_which_gate_it_was(
    folder: LineageFolder,
    instance: dg.DagsterInstance,
    tiny_steps: dict[str, StepFunction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object, **scope: object) -> StageReport:
        raise UserError("the manifest fails files_there", expected="files", remedy="delete it and run again")

    tiny_steps["curate"] = refuse
    monkeypatch.setattr(gates, "check_gates", lambda config, workspace, collection: [HELD, BROKEN])
    result = curate(folder, instance)
    assert not result.success
    assert not only_check(result).passed


def test_a_step_that_wrote_nothing_fails_with_its_own_reason(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    def refuse(*arguments: object, **scope: object) -> StageReport:
        raise UserError("no manifest at x", expected="one", remedy="run `mova ingest` first")

    tiny_steps["curate"] = refuse
    result = curate(folder, instance)
    failure = result.failure_data_for_node("curate")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "run `mova ingest` first" in str(failure.user_failure_data.description)
    assert result.get_asset_check_evaluations() == []
