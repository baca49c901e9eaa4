"""Dagster's history of a folder: opened, held by one demo and one interface at a time, and freed of abandoned runs.

A process that is killed cannot say so: its run stays "started" for ever and, since runs go one at a time, nothing that
is queued after it would begin. Whoever holds the lock knows that no other process of its kind lives, and closes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from mova_core.errors import UserError
from mova_core.files import locked

SETTINGS_FOLDER = Path(__file__).resolve().parent.parent  # where dagster.yaml lies
HISTORY = ".dagster"
DEMO_TAG = "mova/demo"
UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@contextlib.contextmanager
def open_history(root: Path) -> Iterator[dg.DagsterInstance]:
    """The history of `root`, which has to be the current folder: dagster.yaml names its folders relative to that."""
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(root), config_dir=str(SETTINGS_FOLDER))) as instance:
        yield instance


@contextlib.contextmanager
def held(root: Path, what: str) -> Iterator[int]:
    """Holds `what` ("demo" or "interface") for this process; yields the lock's file descriptor.

    Raises
    ------
    UserError : if another process holds it.
    """
    with locked(root / HISTORY / f"{what}.lock", what) as lock:
        yield lock


def is_held(root: Path, what: str) -> bool:
    """Whether some process holds `what`."""
    try:
        with held(root, what):
            return False
    except UserError:
        return True


def close_abandoned_runs(instance: dg.DagsterInstance, *, of_demo: bool) -> list[str]:
    """Marks unfinished runs as failed, either those of the demo or all others; returns their ids.

    Call it only while holding the lock of the process kind that made them.
    """
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if (DEMO_TAG in run.tags) == of_demo:
            instance.report_run_failed(
                run, "The process of this run ended without a word; its step resumes when run again."
            )
            closed.append(run.run_id)
    return closed
