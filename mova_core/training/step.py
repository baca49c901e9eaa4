"""The step `train`: one phase under DeepSpeed ZeRO-3, from the phase before it to a checkpoint. Loads no torch."""

from __future__ import annotations

import contextlib
import os

from mova_core.config import Config
from mova_core.files import locked
from mova_core.progress import say
from mova_core.report import StageReport
from mova_core.training.launch import launched_from_outside, train_in_processes
from mova_core.training.metrics import draw_curves
from mova_core.training.rundir import RunFolder, fingerprint
from mova_core.workspace import Workspace


def run(config: Config, workspace: Workspace, phase: str) -> StageReport:
    """Trains `phase`; a finished one is left as it is, a killed one goes on from its newest state.

    Under torchrun or deepspeed this process joins the others; else it starts `train.engine.processes` of its own.

    Raises
    ------
    UserError : if the latents or the phase before are missing or do not fit, or the machine is too small; what an
        earlier run left is then as it was.
    """
    folder = RunFolder(workspace.run(phase))
    mark = fingerprint(config, workspace, phase)
    figures = folder.finished(mark)
    notes: tuple[str, ...] = ()
    if figures is not None:
        say(f"train {phase}: finished already")
        notes = ("The phase was finished already; nothing was trained.",)
    elif launched_from_outside():
        figures = _join(config, workspace, phase, folder, mark)
    else:
        with _held(workspace, phase):
            figures = train_in_processes(config, workspace, phase, mark)
            _conclude(folder, phase, mark, figures)
    return StageReport(
        step=f"train_{phase}",
        rows_in=int(figures["train_clips"]),
        rows_out=int(figures["train_clips"]),
        metrics=figures,
        previews=(str(folder.curves.relative_to(workspace.root)),),
        outputs=(str(folder.path.relative_to(workspace.root)),),
        notes=notes,
    )


def _join(config: Config, workspace: Workspace, phase: str, folder: RunFolder, mark: str) -> dict[str, float]:
    from mova_core.training.worker import train

    first = os.environ["RANK"] == "0"
    with _held(workspace, phase) if first else contextlib.nullcontext():
        figures = train(config, workspace, phase, mark)
        if first:
            _conclude(folder, phase, mark, figures)
    return figures


def _held(workspace: Workspace, phase: str) -> contextlib.AbstractContextManager[int]:
    """Keeps a second run of the phase from writing into the same folder."""
    return locked(workspace.training / f"{phase}.lock", f"training of phase {phase}")


def _conclude(folder: RunFolder, phase: str, mark: str, figures: dict[str, float]) -> None:
    draw_curves(folder.metrics, folder.curves, f"phase {phase}")
    folder.finish(mark, figures)
