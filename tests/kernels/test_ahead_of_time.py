"""Every kernel compiles for GPUs of compute capability 9.0 and 8.0 on a machine without one, and spills nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from kernels import ahead_of_time
from kernels.subjects import SUBJECTS

REGISTERS = 65536
SHARED_BYTES = {90: 228 * 1024, 80: 164 * 1024}
RESERVED_BYTES = 1024
"""Of a multiprocessor, and what each program takes beside its own (CUDA C++ Programming Guide, capabilities)."""


def compiled(*options: str) -> list[dict[str, Any]]:
    """In a process of its own: here kernels are interpreted, and there they are compiled."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "kernels.ahead_of_time", *options], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(rows: Sequence[dict[str, Any]], capabilities: set[int]) -> None:
    for row in rows:  # shown with `pytest -rP`
        print(
            f"{row['kernel']} {row['case']} sm_{row['capability']} {row['config']}: {row['registers']} registers, "
            f"{row['shared_bytes']} B shared, {row['stack_bytes']} B spilled, {' '.join(row['instructions'])}"
        )
    assert not [row for row in rows if row["stack_bytes"]], "registers spill"
    assert {row["operator"] for row in rows} == set(SUBJECTS)
    assert {row["capability"] for row in rows} == capabilities
    assert all(16 < row["registers"] <= 255 for row in rows)
    crowded = [row for row in rows if row["config"].get("programs", 1) > resident(row)]
    assert not crowded, "a program must fit a multiprocessor; those that stay until all is done, all at once"
    assert not [row for row in rows if {"red.global.", "atom."} & set(row["instructions"])], "sums in no fixed order"


def resident(row: dict[str, Any]) -> int:
    """How many programs of a kernel a multiprocessor holds, by registers (given out in eights) and shared memory."""
    registers = row["config"]["num_warps"] * 32 * -(-row["registers"] // 8) * 8
    return min(REGISTERS // registers, SHARED_BYTES[row["capability"]] // (row["shared_bytes"] + RESERVED_BYTES))


def test_representative_cases_compile_without_spilling() -> None:
    check(compiled("--representative", "--capability", "90"), {90})


@pytest.mark.slow
def test_every_case_in_every_candidate_configuration_compiles_without_spilling() -> None:
    rows = compiled("--candidates")
    check(rows, {90, 80})
    reached = {(row["operator"], row["kernel"].rpartition("_")[2]) for row in rows}
    assert len(reached) > len(SUBJECTS)


def test_the_command_refuses_to_compile_interpreted_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(SystemExit, match="2"):
        ahead_of_time.main([])
    assert "unset it" in capsys.readouterr().err
