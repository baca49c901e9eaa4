"""Starts the training processes of one machine, waits for them, and leaves none behind. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mova_core.config import Config, dump_config
from mova_core.errors import UserError
from mova_core.workspace import Workspace

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 5.0
PIPE_BYTES = 1 << 16


def launched_from_outside(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, deepspeed or the like started this process as one of several."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def train_in_processes(config: Config, workspace: Workspace, phase: str, mark: str) -> dict[str, float]:
    """Trains a phase in `train.engine.processes` processes; returns the run's figures.

    Every process reads the configuration from its standard input and ends when that does: also when this one is killed.
    What it has to say at its end comes through a pipe, which a full disk does not close.

    Parameters
    ----------
    mark : the run's fingerprint.

    Raises
    ------
    UserError : one that a process raised.
    RuntimeError : if a process failed in another way; its traceback is on standard error.
    """
    engine = config.train.engine
    rendezvous = workspace.training / f"{phase}.rendezvous"
    rendezvous.unlink(missing_ok=True)  # of a launcher that was killed
    command = [sys.executable, "-m", "mova_core.training.worker", str(workspace.root), phase, mark, str(rendezvous)]
    processes: list[subprocess.Popen[bytes]] = []
    outcomes: list[int] = []
    try:
        for rank in range(engine.processes):
            environment = process_environment(rank, engine.processes, engine.threads_per_process)
            outcome, for_process = os.pipe()
            outcomes.append(outcome)
            processes.append(
                subprocess.Popen(
                    [*command, str(for_process)], stdin=subprocess.PIPE, pass_fds=[for_process], env=environment
                )
            )
            os.close(for_process)
            _hand_over(dump_config(config), processes[-1])
        wait_for_processes(processes)
    finally:
        end_processes(processes)
        told = [_read(outcome) for outcome in outcomes]
        rendezvous.unlink(missing_ok=True)
    raise_errors(told, [process.returncode for process in processes], phase)
    figures: dict[str, float] = told[0]["figures"]
    return figures


def _hand_over(text: str, process: subprocess.Popen[bytes]) -> None:
    """Writes the configuration and leaves the pipe open, which is what keeps the process alive."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended, and is about to be missed
        process.stdin.write(json.dumps(text).encode() + b"\n")
        process.stdin.flush()


def _read(outcome: int) -> dict[str, Any]:
    """What an ended process has left in its pipe; empty where it left nothing whole."""
    os.set_blocking(outcome, False)
    try:
        text = os.read(outcome, PIPE_BYTES)
    except BlockingIOError:
        text = b""
    finally:
        os.close(outcome)
    try:
        told: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return told


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


def raise_errors(told: Sequence[Mapping[str, Any]], codes: Sequence[int], phase: str) -> None:
    """Raises what the processes told, or for exit codes other than 0; see `train_in_processes`."""
    for outcome in told:
        if "found" in outcome:
            raise UserError(outcome["found"], expected=outcome["expected"], remedy=outcome["remedy"])
    failed = {rank: code for rank, code in enumerate(codes) if code}
    if failed:
        ends = ", ".join(f"process {rank} with {code}" for rank, code in failed.items())
        raise RuntimeError(f"training of phase {phase} ended early: {ends}; run the same command again to go on")
