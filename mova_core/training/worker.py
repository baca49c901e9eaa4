"""One training process: `python -m mova_core.training.worker ROOT PHASE MARK RENDEZVOUS FD`, started by `launch`.

Its standard input brings the configuration in one line. It ends as soon as that does, so that no process outlives the
one that started it. At its end it writes one JSON object to file descriptor FD: figures, or what a user can mend.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.config import Config, parse_config
from mova_core.errors import as_user_error
from mova_core.host_memory import keep_freed_memory
from mova_core.training.capacity import check_memory
from mova_core.training.rundir import RunFolder
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    import torch

ORPHANED = 3
"""Exit code of a process whose launcher is gone."""


def main() -> int:
    """Runs the phase; see the module's text."""
    root, phase, mark, rendezvous, outcome = sys.argv[1:]
    config = parse_config(json.loads(_first_line()), source="the launcher's configuration")
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        figures = train(config, Workspace(Path(root)), phase, mark, rendezvous=Path(rendezvous))
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        _tell(int(outcome), {"found": known.found, "expected": known.expected, "remedy": known.remedy})
        return 2
    _tell(int(outcome), {"figures": figures})
    return 0


def train(
    config: Config, workspace: Workspace, phase: str, mark: str, rendezvous: Path | None = None
) -> dict[str, float]:
    """Trains one phase as the process that RANK, LOCAL_RANK and WORLD_SIZE say; returns the run's figures.

    What an earlier run left is touched once every process has found that it can begin.

    Parameters
    ----------
    mark : the run's fingerprint.
    rendezvous : the file by which local processes find each other; None uses MASTER_ADDR and MASTER_PORT.
    """
    import torch
    import torch.distributed as dist

    from mova_core.training.loop import Trainer
    from mova_core.training.phase import build_phase

    device = prepare_device(config.train.engine.threads_per_process)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    check_memory(config, phase, world, _device_bytes(device))
    # By its object: as a URL, a folder's name could hold what ends a path.
    store = None if rendezvous is None else dist.FileStore(str(rendezvous), world)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world)
    try:
        prepare_deepspeed()
        built = build_phase(config, workspace, phase, rank, world)
        folder = RunFolder(workspace.run(phase))
        trainer = Trainer(config, built, folder, torch.device(device))
        dist.barrier()
        if rank == 0:
            folder.begin(mark)
        return trainer.run_steps()
    finally:
        dist.destroy_process_group()


def _device_bytes(device: torch.device) -> int | None:
    import torch

    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def prepare_device(threads: int) -> torch.device:
    """This process's device, with deterministic arithmetic."""
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
        keep_freed_memory()
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


def _first_line() -> bytes:
    """Byte by byte: a buffered reader would hold back the thread that waits for the end."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os._exit(ORPHANED)


def _tell(outcome: int, values: dict[str, Any]) -> None:
    os.write(outcome, json.dumps(values).encode())


if __name__ == "__main__":
    sys.exit(main())
