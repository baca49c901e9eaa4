"""Pools of processes: order, and an end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mova_core.errors import UserError
from mova_core.workers import available_cores, map_in_order, process_pool

PARENT = """
import os, time
from mova_core.workers import process_pool

def main():
    with process_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)

if __name__ == "__main__":
    main()
"""


def test_results_come_in_the_order_of_the_tasks() -> None:
    tasks = [range(count) for count in (3_000_000, 10, 1_000_000, 2) * 5]  # slow and fast ones in turn
    with process_pool(2) as pool:
        assert list(map_in_order(pool, 2, sum, tasks)) == [sum(task) for task in tasks]


def test_a_killed_worker_is_one_line_with_its_remedy() -> None:
    with pytest.raises(UserError, match="a worker process was killed"), process_pool(1) as pool:
        list(map_in_order(pool, 1, os._exit, [9]))


def test_what_a_worker_finds_amiss_arrives_as_it_is() -> None:
    with pytest.raises(UserError, match="no collection there"), process_pool(1) as pool:
        list(map_in_order(pool, 1, refuse, ["there"]))


def refuse(where: str) -> None:
    raise UserError(f"no collection {where}", expected="one", remedy="add it")


def test_there_is_at_least_one_core() -> None:
    assert available_cores() >= 1


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(worker)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    os.kill(pid, 0)
    return state != "Z"
