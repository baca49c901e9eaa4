"""`make ui`: the Dagster interface on the repository's history, with abandoned runs closed first."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mova_core.errors import UserError
from orchestration.history import SETTINGS_FOLDER, close_abandoned_runs, held, is_held, open_history

EXIT_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Becomes `dagster dev`; returns only if that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.ui", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="3000")
    options = parser.parse_args(arguments)
    os.chdir(SETTINGS_FOLDER)
    try:
        with held(SETTINGS_FOLDER, "interface") as lock:
            with open_history(SETTINGS_FOLDER) as instance:
                close_abandoned_runs(instance, of_demo=False)
                if not is_held(SETTINGS_FOLDER, "demo"):
                    close_abandoned_runs(instance, of_demo=True)
            print(f"Dagster opens at http://{options.host}:{options.port} (end it with Ctrl-C)", flush=True)
            os.set_inheritable(lock, True)  # what this process becomes goes on holding it
            environment = {**os.environ, "DAGSTER_HOME": str(SETTINGS_FOLDER), "PYTHONWARNINGS": "ignore"}
            command = [sys.executable, "-m", "dagster", "dev", "--host", options.host, "--port", options.port]
            os.execve(sys.executable, command, environment)
    except UserError as error:
        print(f"mova: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
