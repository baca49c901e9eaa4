"""The pool yields every task once, outlives a worker's death and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mova_core.config.curation import ExecutorConfig
from mova_core.curation.executor import LocalExecutor, RayExecutor, WorkerLost, make_executor
from mova_core.errors import UserError

KILLS = """
import os, signal
def double(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 99:
        raise ValueError("a defect")
    return 2 * number
"""


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    (tmp_path / "kills_on_three.py").write_text(KILLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import kills_on_three

    yield kills_on_three.double
    del sys.modules["kills_on_three"]


def test_a_task_that_kills_its_worker_costs_only_itself(double) -> None:  # type: ignore[no-untyped-def]
    results = dict(LocalExecutor(2).run(double, range(8)))
    lost = results.pop(3)
    assert isinstance(lost, WorkerLost)
    assert results == {number: 2 * number for number in range(8) if number != 3}


def test_an_exception_is_a_defect_and_is_not_swallowed(double) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="a defect"):
        list(LocalExecutor(1).run(double, [1, 99]))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pathlib import Path
            from mova_core.curation.executor import LocalExecutor

            def sleep(folder):
                (Path(folder) / "worker.pid").write_text(str(os.getpid()))
                time.sleep(60)

            if __name__ == "__main__":
                list(LocalExecutor(1).run(sleep, [sys.argv[1]]))
            """
        )
    )
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    noted = tmp_path / "worker.pid"
    _wait_until(lambda: noted.exists() and noted.read_text() != "")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    worker = int(noted.read_text())
    _wait_until(lambda: not _runs(worker))


def test_ray_without_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    executor = make_executor(ExecutorConfig(kind="ray", num_workers=0, ray_address=""))
    assert isinstance(executor, RayExecutor)
    with pytest.raises(UserError, match="cluster"):
        list(executor.run(abs, [1]))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _wait_until(condition, seconds: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
