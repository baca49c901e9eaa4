"""Peak memory of a process and what it starts."""

from __future__ import annotations

import os
import subprocess
import sys

from orchestration.memory import PeakMemory, tree_bytes

MEBIBYTE = 1 << 20


def test_a_child_counts_while_it_lives() -> None:
    alone = tree_bytes(os.getpid())
    assert alone > 10 * MEBIBYTE
    script = "block = b'x' * (200 << 20); print('ready', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert tree_bytes(os.getpid()) - alone > 190 * MEBIBYTE
        with PeakMemory(os.getpid()) as peak:
            child.communicate(b"\n")
        assert peak.highest_bytes - alone > 190 * MEBIBYTE
        assert tree_bytes(os.getpid()) - alone < 100 * MEBIBYTE
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_gone_holds_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert tree_bytes(child.pid) == 0
