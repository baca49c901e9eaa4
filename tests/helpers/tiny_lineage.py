"""A lineage whose steps write tiny real files, for what happens around steps."""

from __future__ import annotations

from collections.abc import Callable

from mova_core.config import Config
from mova_core.files import write_text
from mova_core.report import StageReport
from mova_core.steps import Step, output_paths
from mova_core.workspace import Workspace

StepFunction = Callable[..., StageReport]


def writer(step: Step) -> StepFunction:
    """A function for `step` that writes one line into each of its output folders."""

    def run(config: Config, workspace: Workspace, collection: str | None = None, **scope: str) -> StageReport:
        outputs = output_paths(step, workspace, collection)
        for output in outputs:
            write_text(output / "rows.txt", f"{step.name} {collection} {config.seed}\n")
        names = tuple(str(output.relative_to(workspace.root)) for output in outputs)
        return StageReport(step.name, rows_in=3, rows_out=2, rejected={"no_audio": 1}, outputs=names)

    return run
