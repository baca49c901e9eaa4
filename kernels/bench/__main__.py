"""The command `python -m kernels.bench`: needs a GPU; without one it says so and ends with code 2."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from kernels.bench.ceilings import Ceilings, measure_ceilings
from kernels.bench.results import environment, write_json, write_table
from kernels.bench.rows import Row, WrongResult, rows_of
from kernels.bench.timing import CudaTimer, Timer
from kernels.bench.tune import plan, tune
from kernels.cases import Case
from kernels.dispatch import DTYPES
from kernels.launch import interpreting
from kernels.subject import Subject
from kernels.subjects import SUBJECTS
from kernels.tuning import keep

OUT = Path("docs/benchmarks")
NOTE = "kernels.md"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 if a result is wrong, 2 if it cannot run here."""
    chosen = _parser().parse_args(arguments)
    if interpreting() or not torch.cuda.is_available():
        found = "TRITON_INTERPRET=1" if interpreting() else "no GPU that PyTorch can use"
        print(f"kernels.bench: found {found}; expected a GPU; run it on a machine with one", file=sys.stderr)
        return 2
    unknown = set(chosen.case or ()) - {case.name for subject in SUBJECTS.values() for case in subject.cases}
    if unknown:
        print(f"kernels.bench: no case is named {', '.join(sorted(unknown))}; --list names them", file=sys.stderr)
        return 2
    cases = list(selected(chosen.kernel, chosen.case))
    if not cases:
        print("kernels.bench: no case of these kernels has these names; --list gives both", file=sys.stderr)
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    timer, facts = CudaTimer(device), environment(device)
    if chosen.tune:
        tune_all(cases, timer, device)
    ceilings = measure_ceilings(timer, device, DTYPES)

    def save(rows: list[Row]) -> None:
        path = write_json(chosen.out, facts, ceilings, rows)
        write_table(chosen.out / NOTE, json.loads(path.read_text(encoding="utf-8")))

    rows, wrong = run(cases, timer, ceilings, device, save)
    if rows:
        print(f"written: {chosen.out / NOTE}, and a JSON file beside it")
    return 1 if wrong else 0


def tune_all(cases: list[tuple[Subject[Any], Case[Any]]], timer: Timer, device: torch.device) -> None:
    """Keeps the winner of each entry as soon as it is known; one whose default fails is said and left alone."""
    for name, (subject, case, tunable) in plan(cases).items():
        try:
            config = tune(subject, case, tunable, timer, device)
        except WrongResult as error:
            print(f"WRONG, not tuned: {error}", file=sys.stderr, flush=True)
            continue
        keep(torch.cuda.get_device_name(device), {name: config})
        print(f"tuned {name} on {case.name}: {config.as_dict()}", flush=True)


def selected(operators: list[str] | None, names: list[str] | None) -> Iterator[tuple[Subject[Any], Case[Any]]]:
    """The model-sized cases of the chosen operators (default all) and names (default all)."""
    for operator in operators or sorted(SUBJECTS):
        for case in SUBJECTS[operator].cases:
            if not case.small and (not names or case.name in names):
                yield SUBJECTS[operator], case


def run(
    cases: list[tuple[Subject[Any], Case[Any]]],
    timer: Timer,
    ceilings: Ceilings,
    device: torch.device,
    save: Callable[[list[Row]], None],
) -> tuple[list[Row], list[str]]:
    """Rows of all cases, and what was wrong with those that have none.

    Each is printed as it is done, and all so far are saved, so that a run that is cut short keeps what it measured.
    """
    rows: list[Row] = []
    wrong = []
    for subject, case in cases:
        try:
            measured = rows_of(subject, case, timer, ceilings, device)
        except WrongResult as error:
            wrong.append(str(error))
            print(f"WRONG, not timed: {error}", file=sys.stderr, flush=True)
            continue
        rows += measured
        save(rows)
        for row in measured:
            print(
                f"{row.case} {row.pass_}: {row.ours_ms:.3f} ms, {row.ratio:.2f} x {row.best_torch}, "
                f"{row.fraction_of_floor:.0%} of the floor, {row.gigabytes_per_second:.0f} GB/s, "
                f"peak {row.peak_bytes / 2**20:.0f} MiB",
                flush=True,
            )
    return rows, wrong


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.bench", description="Measure the kernels on a GPU, after checking their results."
    )
    parser.add_argument("--kernel", action="append", choices=sorted(SUBJECTS), help="default: all")
    parser.add_argument("--case", action="append", help="by name; default: all of the model's sizes")
    parser.add_argument(
        "--tune", action="store_true", help="first time every candidate configuration and keep the best"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON and the note (default: %(default)s)")
    parser.add_argument("--list", action=_List, nargs=0, help="name all cases and end")
    return parser


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for subject, case in selected(None, None):
            print(f"{subject.operator}/{case.name}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
