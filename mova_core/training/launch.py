"""Starts the training processes of one machine, waits for them, and leaves none behind. Loads no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mova_core.config import Config, save_config
from mova_core.errors import UserError
from mova_core.workspace import Workspace

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 5.0


def launched_from_outside(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, deepspeed or the like started this process as one of several."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def train_in_processes(config: Config, workspace: Workspace, phase: str) -> dict[str, float]:
    """Trains a phase in `train.engine.processes` processes; returns the run's figures.

    Every process reads its standard input and ends when that does: also when this one is killed.

    Raises
    ------
    UserError : one that a process raised.
    OSError : the same, such as a full disk.
    RuntimeError : if a process failed in another way; its traceback is on standard error.
    """
    engine = config.train.engine
    with tempfile.TemporaryDirectory(prefix="mova-train-") as folder:
        exchange = Path(folder)
        save_config(config, exchange / "params.yaml")
        command = [sys.executable, "-m", "mova_core.training.worker", str(workspace.root), phase, folder]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(engine.processes):
                environment = process_environment(rank, engine.processes, engine.threads_per_process)
                processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment))
            wait_for_processes(processes)
        finally:
            end_processes(processes)
        raise_errors(exchange, [process.returncode for process in processes], phase)
        figures: dict[str, float] = json.loads((exchange / "outcome.json").read_text(encoding="utf-8"))
        return figures


def process_environment(rank: int, world: int, threads: int) -> dict[str, str]:
    """The environment of one local process."""
    return {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",  # unused: processes meet in a file; DeepSpeed wants it set
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads that spin collapse when cores are shared
        "GLOO_SOCKET_IFNAME": "lo",
    }


def wait_for_processes(processes: list[subprocess.Popen[bytes]]) -> None:
    """Returns when all have ended well or one has not."""
    while None in (codes := [process.poll() for process in processes]) and not any(codes):
        time.sleep(SECONDS_BETWEEN_LOOKS)


def end_processes(processes: list[subprocess.Popen[bytes]], seconds: float = SECONDS_TO_END) -> None:
    """Closes the processes' inputs, at which they end, and kills those that have not ended after `seconds`."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def raise_errors(exchange: Path, codes: list[int], phase: str) -> None:
    """Raises what the processes left in `exchange`, or for exit codes other than 0; see `train_in_processes`."""
    for path in sorted(exchange.glob("error-*.json")):
        error = json.loads(path.read_text(encoding="utf-8"))
        if "found" in error:
            raise UserError(error["found"], expected=error["expected"], remedy=error["remedy"])
        raise OSError(error["errno"], error["message"], error["filename"])
    failed = {rank: code for rank, code in enumerate(codes) if code}
    if failed:
        ends = ", ".join(f"process {rank} with {code}" for rank, code in failed.items())
        raise RuntimeError(f"training of phase {phase} ended early: {ends}; run the same command again to go on")
