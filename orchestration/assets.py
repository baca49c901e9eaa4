"""Every step of the lineage as an asset of the same name. No logic of the pipeline lives here.

Training runs as its own process, the very command of the shell, through Dagster Pipes: it starts the distributed
engine, sets its threads before torch loads, and gives all its memory back. The other steps are called in the process
that Dagster gives the asset, which under `dagster dev` is one of its own.
"""

import sys

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.steps import STEPS, Step, output_paths, report_path, run_step
from orchestration.checks import gate_check_results, gate_check_specs
from orchestration.metadata import data_version, report_metadata
from orchestration.partitions import COLLECTIONS, add_collections
from orchestration.resources import LineageFolder

# A step resumes where it stopped, so a second try after a crash costs little. A user's mistake is not tried again.
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
GROUPS = {"corpus": "curation", "encode": "training", "sample": "release"}  # where each group begins
EXIT_BAD_INPUT = 2


def lineage_assets() -> list[dg.AssetsDefinition]:
    """One asset a step, in the lineage's order."""
    group = ""
    assets = []
    for step in STEPS:
        group = GROUPS.get(step.name, group)
        assets.append(_asset(step, group))
    return assets


def _asset(step: Step, group: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=step.name,
        description=step.summary,
        deps=list(step.reads),
        partitions_def=COLLECTIONS if step.per_collection else None,
        group_name=group,
        kinds={"python"} if step.verb != "train" else {"torch"},
        retry_policy=RETRIES,
        check_specs=gate_check_specs(step),
        metadata={"command": " ".join(command_of(step, "<collection>" if step.per_collection else None))},
    )
    def materialize(
        context: dg.AssetExecutionContext, folder: LineageFolder, pipes: dg.PipesSubprocessClient
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value passes between assets, files do
        collection = context.partition_key if step.per_collection else None
        try:
            if step.verb == "train":
                report = _run_training(step, folder, context, pipes)
            else:
                report = run_step(step, folder.config(), folder.workspace(), collection)
        except UserError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        workspace = folder.workspace()
        if step.name == "corpus":
            add_collections(context.instance, folder.config().collections)
        return dg.MaterializeResult(
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
    command = [sys.executable, "-m", "mova_core", "--root", str(root), *command_of(step)[1:]]
    try:
        pipes.run(context=context, command=command)
    except DagsterPipesExecutionError as error:
        if str(error).endswith(f"code {EXIT_BAD_INPUT}"):
            raise dg.Failure(
                description=f"{' '.join(command_of(step))} refused its input; its line is in the step's stderr",
                allow_retries=False,
            ) from error
        raise
    return StageReport.load(report_path(step, folder.workspace()))
