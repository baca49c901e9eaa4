from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mova_core.errors import UserError
from mova_core.training.launch import (
    end_processes,
    launched_from_outside,
    process_environment,
    raise_errors,
    wait_for_processes,
)


def started(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)


def test_when_one_fails_the_others_are_ended() -> None:
    processes = [started("import time; time.sleep(60)"), started("raise SystemExit(7)")]
    began = time.monotonic()
    try:
        wait_for_processes(processes)
    finally:
        end_processes(processes, seconds=0.2)
    assert time.monotonic() - began < 30
    assert processes[1].returncode == 7
    assert processes[0].returncode is not None


def test_processes_that_read_their_input_end_by_themselves() -> None:
    process = started("import sys; sys.stdin.read(); sys.exit(0)")
    end_processes([process], seconds=30)
    assert process.returncode == 0


def test_a_mistake_that_a_process_found_is_raised_here() -> None:
    told = [{}, {"found": "this", "expected": "that", "remedy": "do so"}]
    with pytest.raises(UserError, match="this; expected that; do so"):
        raise_errors(told, [0, 2], "audio")


def test_any_other_end_names_the_process() -> None:
    with pytest.raises(RuntimeError, match="process 1 with -9"):
        raise_errors([{"figures": {}}, {}], [0, -9], "audio")


def test_processes_know_their_place_and_do_not_spin() -> None:
    environment = process_environment(1, 2, 3)
    assert (environment["RANK"], environment["WORLD_SIZE"]) == ("1", "2")
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert launched_from_outside(environment)
    assert not launched_from_outside({})
