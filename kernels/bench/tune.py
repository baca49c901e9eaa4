"""Times every candidate configuration of a case's kernels, and keeps the fastest for this device."""

from __future__ import annotations

from typing import Any

import torch

from kernels.bench.rows import SEED, check_results, timed_call
from kernels.bench.timing import Timer, measure
from kernels.cases import Case
from kernels.subject import Pass, Subject
from kernels.tuning import Config, Tunable, entry, forcing

MARGIN = 0.02
"""A candidate must be faster than the default by this share: less is noise."""


def tune(subject: Subject[Any], case: Case[Any], timer: Timer, device: torch.device) -> dict[str, Config]:
    """The fastest configuration of each kernel by its entry; each candidate passes the correctness gate first.

    A kernel is timed within the pass that it is a part of: what else runs there is the same for all candidates.

    Raises
    ------
    kernels.bench.rows.WrongResult : if a candidate's results are wrong.
    """
    inputs = subject.inputs(case, device, torch.Generator(device).manual_seed(SEED))
    chosen = {}
    for tunable in subject.tunables:
        times = _times(subject, case, tunable, inputs, timer, device)
        default, fastest = times[0], min(times, key=lambda pair: pair[1])
        kept = fastest if fastest[1] < default[1] * (1 - MARGIN) else default
        chosen[entry(tunable.name, subject.key(case))] = kept[0]
    return chosen


def _times(
    subject: Subject[Any],
    case: Case[Any],
    tunable: Tunable,
    inputs: dict[str, torch.Tensor],
    timer: Timer,
    device: torch.device,
) -> list[tuple[Config, float]]:
    which: Pass = "forward" if tunable.name.endswith(".forward") else "forward_backward"
    times = []
    for config in tunable.candidates(subject.key(case)):
        with forcing(tunable.name, config):
            check_results(subject, case, device)
            times.append((config, measure(timer, timed_call(subject.ours(case), inputs, which)).median_ms))
    return times
