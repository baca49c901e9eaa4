"""Every step of the lineage as an asset of the same name. No logic of the pipeline lives here.

Training runs as its own process, the very command of the shell, through Dagster Pipes: it starts the distributed
engine, sets its threads before torch loads, and gives all its memory back. The other steps are called in the process
that Dagster gives the asset, which under `dagster dev` is one of its own.
"""

import os
import sys
import warnings
from collections.abc import Iterator

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from mova_core.cli import EXIT_BAD_INPUT, INTERRUPTED, REFUSAL_VARIABLE
from mova_core.errors import as_user_error
from mova_core.report import StageReport
from mova_core.steps import STEPS, Step, output_paths, report_path, run_step
from orchestration.checks import failed_gate_results, gate_check_results, gate_check_specs
from orchestration.metadata import data_version, report_metadata
from orchestration.partitions import COLLECTIONS, add_collections
from orchestration.resources import LineageFolder

# A step resumes where it stopped, so a second try after a crash costs little. A user's mistake is not tried again.
RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)
PYTHON = sys.executable
REFUSAL_BYTES = 1 << 16


def lineage_assets() -> list[dg.AssetsDefinition]:
    """One asset a step, in the lineage's order."""
    return [_asset(step) for step in STEPS]


def _asset(step: Step) -> dg.AssetsDefinition:
    @dg.asset(
        name=step.name,
        description=step.summary,
        deps=list(step.reads),
        partitions_def=COLLECTIONS if step.per_collection else None,
        group_name="lineage",  # one group, since the page folds several up
        kinds={"python"} if step.verb != "train" else {"torch"},
        retry_policy=RETRIES,
        check_specs=gate_check_specs(step),
        metadata={"command": " ".join(command_of(step, "<collection>" if step.per_collection else None))},
    )
    def materialize(
        context: dg.AssetExecutionContext, folder: LineageFolder, pipes: dg.PipesSubprocessClient
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]  # files pass, no values
        collection = context.partition_key if step.per_collection else None
        try:
            if step.verb == "train":
                report = _run_training(step, folder, context, pipes)
            else:
                report = run_step(step, folder.config(), folder.workspace(), collection)
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:  # Dagster would try again
            raise dg.Failure(description=INTERRUPTED, allow_retries=False) from error
        except Exception as error:
            mendable = as_user_error(error)
            if mendable is None:
                raise
            yield from failed_gate_results(step, folder, collection)
            raise dg.Failure(description=str(mendable), allow_retries=False) from error
        workspace = folder.workspace()
        if step.name == "corpus":
            add_collections(context.instance, folder.config().collections)
        yield dg.MaterializeResult(
            metadata=report_metadata(report, workspace.root),
            data_version=data_version(output_paths(step, workspace, collection)),
            check_results=gate_check_results(step, folder, collection),
        )

    return materialize


def command_of(step: Step, collection: str | None = None) -> list[str]:
    """The shell's command for `step`."""
    options = [part for name, value in step.arguments.items() for part in (f"--{name}", value)]
    return ["mova", step.verb, *options, *(["--collection", collection] if collection is not None else [])]


def _run_training(
    step: Step, folder: LineageFolder, context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient
) -> StageReport:
    root = folder.workspace().root
    command = [PYTHON, "-m", "mova_core", "--root", str(root), *command_of(step)[1:]]
    refusal = os.memfd_create("refusal")  # in memory: what a full disk is the reason for has to arrive too
    environment = {REFUSAL_VARIABLE: f"/proc/{os.getpid()}/fd/{refusal}"}
    try:
        with warnings.catch_warnings():
            # Dagster's own client calls a function that Dagster still marks as a preview.
            warnings.filterwarnings("ignore", message=".*expected_writer_count")
            pipes.run(context=context.op_execution_context, command=command, env=environment)
    except DagsterPipesExecutionError as error:
        if str(error).endswith(f"code {EXIT_BAD_INPUT}"):
            said = os.pread(refusal, REFUSAL_BYTES, 0).decode("utf-8", "replace")
            refused = f"{' '.join(command_of(step))} refused its input; its line is in the step's stderr"
            raise dg.Failure(description=said or refused, allow_retries=False) from error
        raise
    finally:
        os.close(refusal)
    return StageReport.load(report_path(step, folder.workspace()))
