"""One training process: `python -m mova_core.training.worker ROOT PHASE EXCHANGE`, started by `training.launch`.

EXCHANGE is a folder with params.yaml, in which the process leaves outcome.json (the first one) or error-<rank>.json. It
ends as soon as its standard input does, so that no process outlives the one that started it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mova_core.config import Config, load_config
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.training.rundir import RunFolder
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    import torch

ORPHANED = 3
"""Exit code of a process whose launcher is gone."""


def main() -> int:
    """Runs the phase; see the module's text."""
    root, phase, exchange = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        figures = train(
            load_config(exchange / "params.yaml"), Workspace(root), phase, rendezvous=exchange / "rendezvous"
        )
    except (UserError, OSError) as error:
        write_text(exchange / f"error-{os.environ['RANK']}.json", json.dumps(_described(error)))
        if isinstance(error, UserError):
            return 2
        raise
    if int(os.environ["RANK"]) == 0:
        write_text(exchange / "outcome.json", json.dumps(figures))
    return 0


def train(config: Config, workspace: Workspace, phase: str, rendezvous: Path | None = None) -> dict[str, float]:
    """Trains one phase as the process that RANK, LOCAL_RANK and WORLD_SIZE say; returns the run's figures.

    Parameters
    ----------
    rendezvous : the file by which local processes find each other; None uses MASTER_ADDR and MASTER_PORT.
    """
    import torch
    import torch.distributed as dist

    from mova_core.training.loop import Trainer
    from mova_core.training.phase import build_phase

    device = prepare_device(config.train.engine.threads_per_process)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    method = f"file://{rendezvous}" if rendezvous is not None else "env://"
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", init_method=method, rank=rank, world_size=world
    )
    try:
        prepare_deepspeed()
        built = build_phase(config, workspace, phase, rank, world)
        return Trainer(config, built, RunFolder(workspace.run(phase)), torch.device(device)).run_steps()
    finally:
        dist.destroy_process_group()


def prepare_device(threads: int) -> torch.device:
    """This process's device, with deterministic arithmetic."""
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def prepare_deepspeed() -> None:
    """Keeps DeepSpeed from compiling: its shared-memory collectives take 48 s to build and serve no purpose here. What
    it may build after all goes into this environment, where a killed build blocks nobody else."""
    # DeepSpeed counts devices in every step, and would start a process to do it.
    os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))
    warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)  # of names that DeepSpeed 0.19 still calls
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.ERROR)  # it warns of every optimizer but its own
    deepspeed.init_distributed(verbose=False)


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os._exit(ORPHANED)


def _described(error: UserError | OSError) -> dict[str, object]:
    if isinstance(error, UserError):
        return {"found": error.found, "expected": error.expected, "remedy": error.remedy}
    return {"errno": error.errno, "message": error.strerror or str(error), "filename": str(error.filename or "")}


if __name__ == "__main__":
    sys.exit(main())
