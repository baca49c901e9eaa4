"""Assets around steps: what runs, what Dagster records of it, what is tried again and what is not."""

from __future__ import annotations

import errno
from pathlib import Path

import dagster as dg
import pytest
from tiny_lineage import StepFunction

from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import STEPS, report_path, step_named
from orchestration import assets
from orchestration.assets import command_of
from orchestration.definitions import defs
from orchestration.partitions import COLLECTIONS
from orchestration.resources import LineageFolder


def materialize(
    name: str, folder: LineageFolder, instance: dg.DagsterInstance, partition_key: str | None = None
) -> dg.ExecuteInProcessResult:
    resources = {"folder": folder, "pipes": dg.PipesSubprocessClient()}
    job = dg.Definitions(assets=defs.assets, resources=resources).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name)],
        partition_key=partition_key,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def materialization(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetMaterialization:
    (event,) = result.asset_materializations_for_node(name)
    return event


def test_a_report_becomes_metadata(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    result = materialize("corpus", folder, instance)
    assert result.success
    metadata = materialization(result, "corpus").metadata
    assert (metadata["rows_in"].value, metadata["rows_out"].value) == (3, 2)
    assert [record.data for record in metadata["rejected"].value.records] == [{"reason": "no_audio", "rows": 1}]  # type: ignore[union-attr]
    assert str(metadata["output_1"].value).endswith("data/raw/demo")


def test_the_corpus_brings_its_collections_as_partitions(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    materialize("corpus", folder, instance)
    assert set(instance.get_dynamic_partitions(str(COLLECTIONS.name))) == {"demo", "footage"}


def test_a_partition_runs_on_its_collection_alone(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    instance.add_dynamic_partitions(str(COLLECTIONS.name), ["demo", "footage"])
    assert materialize("ingest", folder, instance, "footage").success
    workspace = folder.workspace()
    assert (workspace.ingest("footage") / "rows.txt").is_file()
    assert not workspace.ingest("demo").exists()


def test_equal_outputs_have_equal_versions_and_changed_ones_another(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    def version() -> str:
        event = materialization(materialize("encode", folder, instance), "encode")
        return str((event.tags or {})["dagster/data_version"])

    first = version()
    assert version() == first
    params = folder.workspace().params
    params.write_text(params.read_text().replace("seed: 20260", "seed: 7"))
    assert version() != first


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("no clips", expected="some", remedy="run `mova curate`"), "no clips; expected some"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "the disk is full (x)"),
    ],
)
def test_what_a_user_can_mend_fails_once_in_one_line(
    error: Exception,
    words: str,
    folder: LineageFolder,
    instance: dg.DagsterInstance,
    tiny_steps: dict[str, StepFunction],
) -> None:
    tries = []

    def refuse(*arguments: object, **scope: object) -> StageReport:
        tries.append(scope)
        raise error

    tiny_steps["encode"] = refuse
    result = materialize("encode", folder, instance)
    assert not result.success
    assert len(tries) == 1
    failure = result.failure_data_for_node("encode")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert str(failure.user_failure_data.description).startswith(words)


def test_a_crash_is_tried_again(
    folder: LineageFolder, instance: dg.DagsterInstance, tiny_steps: dict[str, StepFunction]
) -> None:
    tries = []

    def crash_once(*arguments: object, **scope: object) -> StageReport:
        tries.append(scope)
        if len(tries) == 1:
            raise RuntimeError("lost a worker")
        return StageReport("encode", rows_in=1, rows_out=1)

    tiny_steps["encode"] = crash_once
    assert materialize("encode", folder, instance).success
    assert len(tries) == 2


def fake_interpreter(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_training_runs_the_shell_command_and_reads_its_report(
    folder: LineageFolder, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = folder.workspace()
    report = StageReport("train_joint1", rows_in=9, rows_out=9, metrics={"loss": 0.25})
    report.save(tmp_path / "report.json")
    path = report_path(step_named("train_joint1"), workspace)
    script = f'mkdir -p "{path.parent}"; cp "{tmp_path}/report.json" "{path}"; echo "$@" > "{tmp_path}/arguments"'
    monkeypatch.setattr(assets, "PYTHON", fake_interpreter(tmp_path / "python", script))
    result = materialize("train_joint1", folder, instance)
    assert result.success
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == ["-m", "mova_core", "--root", str(workspace.root), "train", "--phase", "joint1"]
    assert materialization(result, "train_joint1").metadata["metric_loss"].value == pytest.approx(0.25)


def test_training_that_refuses_its_input_is_not_tried_again(
    folder: LineageFolder, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'echo once >> "{tmp_path}/tries"; echo "mova: no latents; expected some; run mova encode" >&2; exit 2'
    monkeypatch.setattr(assets, "PYTHON", fake_interpreter(tmp_path / "python", script))
    result = materialize("train_audio", folder, instance)
    assert not result.success
    assert (tmp_path / "tries").read_text() == "once\n"
    failure = result.failure_data_for_node("train_audio")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "refused its input" in str(failure.user_failure_data.description)


def test_the_line_of_a_training_that_refuses_its_input_is_what_dagster_shows(
    folder: LineageFolder, instance: dg.DagsterInstance
) -> None:
    result = materialize("train_audio", folder, instance)  # the real command, in a workspace without latents
    assert not result.success
    failure = result.failure_data_for_node("train_audio")
    assert failure is not None
    assert failure.user_failure_data is not None
    said = str(failure.user_failure_data.description)
    assert said.startswith("no latents at")
    assert said.endswith("run `mova encode` first")


def test_commands_are_what_a_person_types() -> None:
    commands = {step.name: " ".join(command_of(step, "mine" if step.per_collection else None)) for step in STEPS}
    assert commands["train_joint3"] == "mova train --phase joint3"
    assert commands["curate"] == "mova curate --collection mine"
    assert commands["corpus"] == "mova corpus"
