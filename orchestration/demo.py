"""`make demo`: every asset, from raw video to release, materialized through Dagster in this process.

What is made lands in Dagster's own history, so that `make ui` shows it all afterwards. Steps skip what is done: an
interrupted demo goes on where it stopped, and a second one ends in moments.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mova_core.cli import EXIT_BAD_INPUT, EXIT_INTERRUPTED, INTERRUPTED
from mova_core.config import Config, load_config, preset_text
from mova_core.doctor import graphics_processors
from mova_core.errors import UserError, as_user_error
from mova_core.files import write_text
from mova_core.progress import say
from mova_core.report import StageReport
from mova_core.steps import PHASES, STEPS, Step, report_path
from mova_core.training.capacity import check_memory
from mova_core.workspace import Workspace
from orchestration.definitions import defs
from orchestration.history import DEMO_TAG, close_abandoned_runs, held, open_history
from orchestration.memory import PeakMemory
from orchestration.partitions import add_collections
from orchestration.resources import ROOT_VARIABLE

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
EXIT_FAILED = 1
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Task:
    """One materialization: a step, and a collection where the step has one."""

    step: Step
    collection: str | None

    @property
    def label(self) -> str:
        return self.step.name if self.collection is None else f"{self.step.name} [{self.collection}]"


@dataclass(frozen=True)
class Done:
    """A finished materialization; `seconds` includes Dagster's part, `report.seconds` is the step's own."""

    task: Task
    report: StageReport
    seconds: float


class MaterializationError(Exception):
    """An asset did not materialize; the text says which and why."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo in ``--root`` (default: here) and prints times, memory and where to look."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.demo", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="the folder with params.yaml (default: here)")
    root = parser.parse_args(arguments).root.resolve()
    try:
        config = prepare(root)
        with PeakMemory(os.getpid()) as peak:
            done = materialize_lineage(root, config)
    except MaterializationError as error:
        print(f"mova: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"mova: {INTERRUPTED}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # Dagster's history lies on the same disk
        known = as_user_error(error)
        if known is None:
            raise
        print(f"mova: {known}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print_summary(root, done, peak.highest_bytes)
    return 0


def prepare(root: Path) -> Config:
    """Makes `root` the folder that this process and its assets work in; writes params.yaml if there is none.

    Raises
    ------
    UserError : if params.yaml is amiss, or asks for more memory than this machine has.
    """
    params = Workspace(root).params
    if not params.exists():
        write_text(params, preset_text("nano"))
    config = load_config(params)
    _check_machine(config)
    os.chdir(root)  # dagster.yaml names its folders relative to here
    os.environ[ROOT_VARIABLE] = str(root)
    return config


def _check_machine(config: Config) -> None:
    """Says before hours of curation that training will not fit: into memory, or into all GPUs where there are any."""
    for phase in PHASES:
        try:
            check_memory(config, phase, num_processes=1, device_bytes=None)
        except UserError:
            devices = graphics_processors()
            if not devices:
                raise
            check_memory(config, phase, len(devices), min(memory for _, memory in devices))


def tasks_of(config: Config) -> list[Task]:
    """Every materialization in the lineage's order."""
    return [
        Task(step, collection)
        for step in STEPS
        for collection in (config.collections if step.per_collection else [None])
    ]


def materialize_lineage(root: Path, config: Config) -> list[Done]:
    """Materializes every asset in order.

    Raises
    ------
    MaterializationError : at the first that fails; what is done stays done.
    UserError : if another demo is running there.
    """
    tasks = tasks_of(config)
    done = []
    with held(root, "demo"), open_history(root) as instance:
        close_abandoned_runs(instance, of_demo=True)
        add_collections(instance, config.collections)
        for number, task in enumerate(tasks, start=1):
            say(f"[{number}/{len(tasks)}] {task.label}: {task.step.summary}")
            started = time.monotonic()
            _materialize(task, instance)
            report = StageReport.load(report_path(task.step, Workspace(root), task.collection))
            done.append(Done(task, report, time.monotonic() - started))
            if task.step.verb != "train":  # which has said so itself, as a command of its own
                say(report.summary())
    return done


def _materialize(task: Task, instance: dg.DagsterInstance) -> None:
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(task.step.name)],
        partition_key=task.collection,
        raise_on_error=False,
        run_config=QUIET,
        tags={DEMO_TAG: "true"},
    )
    if result.success:
        return
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data is not None:
                said = failure.user_failure_data.description
                code = EXIT_INTERRUPTED if said == INTERRUPTED else EXIT_BAD_INPUT
                raise MaterializationError(f"{task.label}: {said}", code)
            raise MaterializationError(f"{task.label} failed: {failure.error_display_string}", EXIT_FAILED)
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    if failed:
        raise MaterializationError(
            f"{task.label}: {', '.join(failed)} did not pass; expected every gate to hold; "
            "`make ui` shows which rows failed",
            EXIT_BAD_INPUT,
        )
    raise MaterializationError(f"{task.label}: {INTERRUPTED}", EXIT_INTERRUPTED)


def print_summary(root: Path, done: list[Done], peak_bytes: int) -> None:
    """Times of every step, peak memory, and where to look next."""
    table = Table(
        "step", "rows in", "rows out", "step, s", "with Dagster, s", title="What was made, and how long it took"
    )
    for entry in done:
        report = entry.report
        cells = (str(report.rows_in), str(report.rows_out), f"{report.seconds:.1f}", f"{entry.seconds:.1f}")
        table.add_row(escape(entry.task.label), *cells)
    table.add_section()
    total = sum(entry.seconds for entry in done)
    table.add_row("all", "", "", f"{sum(entry.report.seconds for entry in done):.1f}", f"{total:.1f}")
    console = Console()
    console.print(table)
    console.print(f"peak memory {peak_bytes / GIBIBYTE:.1f} GiB, of this process and all it started")
    workspace = Workspace(root)
    console.print(f"report    {workspace.evaluation / 'report.html'}", soft_wrap=True)
    console.print(f"release   {workspace.release}", soft_wrap=True)
    console.print("lineage   make ui")


if __name__ == "__main__":
    sys.exit(main())
