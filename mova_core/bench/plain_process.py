"""The plain step in a process of its own, as a script that sets nothing would run it.

`mova` itself runs with waiting threads that sleep and an allocator that keeps what was freed, and both would make the
plain step faster than it is for who writes it. The process waits for a line and answers with one, so that its rounds
can be taken in turn with others'.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from mova_core.bench.step_subject import StepBench, bench_inputs, bench_model, step_runners, threads_set, timed
from mova_core.errors import UserError

OURS = ("OMP_WAIT_POLICY",)
"""What `mova` sets in its environment."""


@contextlib.contextmanager
def plain_process(bench: StepBench) -> Iterator[Callable[[], float]]:
    """Yields what runs one plain step there and returns its CPU-seconds; the first, not counted, is done.

    Raises
    ------
    UserError : if the process ends early.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "-m", "mova_core.bench.plain_process", json.dumps(dataclasses.asdict(bench))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout

        def run() -> float:
            with contextlib.suppress(BrokenPipeError):  # an ended process is told by its missing answer
                asks.write("\n")
                asks.flush()
            answer = answers.readline()
            if not answer:
                raise UserError(
                    f"the process of the plain step ended with {process.wait()}",
                    expected="one line a step",
                    remedy="see that memory is free; its own message stands above",
                )
            return float(answer)

        run()
        yield run


def main(arguments: str) -> None:
    """Answers every line on standard input with the CPU-seconds of one plain step."""
    bench = StepBench(**json.loads(arguments))
    model = bench_model().requires_grad_(bench.train)
    with threads_set(bench.threads):
        _, plain = step_runners(model, bench_inputs(model.config, bench.context_rows_used), bench.train)
        measured = timed(plain)
        for _ in sys.stdin:
            print(measured(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
