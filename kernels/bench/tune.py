"""Times every candidate configuration of a kernel, and keeps the fastest for this device."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch

from kernels.bench.rows import PASSES, SEED, check_results, timed_call
from kernels.bench.timing import Timer, measure
from kernels.cases import Case
from kernels.subject import Inputs, Pass, Subject
from kernels.tuning import Config, Tunable, entry, forcing

MARGIN = 0.02
"""A candidate must be faster than the default by this share: less is noise."""


def plan(cases: Iterable[tuple[Subject[Any], Case[Any]]]) -> dict[str, tuple[Subject[Any], Case[Any], Tunable]]:
    """What each entry is tuned on: the largest case of the first subject that has it.

    Cases of one width share an entry, and time is lost in the long ones: 720p decides, not 403 audio tokens.
    """
    chosen: dict[str, tuple[Subject[Any], Case[Any], Tunable]] = {}
    for subject, case in cases:
        for tunable in subject.tunables:
            name = entry(tunable.name, subject.key(case))
            if name not in chosen or (chosen[name][0] is subject and _size(subject, case) > _size(*chosen[name][:2])):
                chosen[name] = (subject, case, tunable)
    return chosen


def _size(subject: Subject[Any], case: Case[Any]) -> int:
    return subject.cost(case, PASSES[-1]).num_bytes


def tune(subject: Subject[Any], case: Case[Any], tunable: Tunable, timer: Timer, device: torch.device) -> Config:
    """The fastest configuration of a kernel; each candidate passes the correctness gate first.

    The kernel is timed within the pass that it is a part of: what else runs there is the same for all candidates. A
    candidate that is wrong or does not start is named on standard error and left out.

    Raises
    ------
    RuntimeError : if the default configuration is wrong or does not start.
    """
    inputs = subject.inputs(case, device, torch.Generator(device).manual_seed(SEED))
    default, *others = tunable.candidates(subject.key(case))
    times = [(default, _time(subject, case, tunable, default, inputs, timer, device))]
    for config in others:
        try:
            times.append((config, _time(subject, case, tunable, config, inputs, timer, device)))
        except RuntimeError as error:
            print(f"left out: {tunable.name} with {config.as_dict()}: {error}", file=sys.stderr, flush=True)
    fastest = min(times, key=lambda pair: pair[1])
    return fastest[0] if fastest[1] < times[0][1] * (1 - MARGIN) else default


def _time(
    subject: Subject[Any],
    case: Case[Any],
    tunable: Tunable,
    config: Config,
    inputs: Inputs,
    timer: Timer,
    device: torch.device,
) -> float:
    which: Pass = "forward" if tunable.name.endswith(".forward") else "forward_backward"
    with forcing(tunable.name, config):
        check_results(subject, case, device)
        return measure(timer, timed_call(subject.ours(case), inputs, which)).median_ms
