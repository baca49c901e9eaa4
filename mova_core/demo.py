"""`mova demo`: the whole lineage through Dagster, in a process of its own since nothing in here imports Dagster."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from mova_core.errors import UserError

# Waiting threads sleep instead of spinning, or two processes on two cores starve each other. No library calls home.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GX_ANALYTICS_ENABLED": "false"}
EXIT_INTERRUPTED = 130


def run_demo(root: Path) -> int:
    """Materializes every asset under `root` and returns the exit code.

    Raises
    ------
    UserError : if Dagster or the orchestration package is not installed.
    """
    for package in ("dagster", "great_expectations", "orchestration"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"{package} is not installed",
                expected="the orchestration extra",
                remedy="run `make install` in the repository, or `pip install 'mova-lineage[orchestration]'`",
            )
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.demo", "--root", str(root)], env={**ENVIRONMENT, **os.environ}
    )
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has told the child too
        process.wait()
        return EXIT_INTERRUPTED
