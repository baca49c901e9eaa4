"""`mova bench step`: what one joint step costs on the CPU, beside a plain implementation, in one run.

Rounds are interleaved (ours, plain, ours, ...), because a shared machine's speed drifts by the minute. CPU-seconds of
the whole process are taken, not the clock's, and compared by their minima: what a machine adds is never negative. The
first step, which makes what a sampler keeps for a clip (the text's projections), is stated on its own.

The plain step is measured twice: in a process of its own as PyTorch starts one, which is the baseline, and in this one
(`plain_here`), where it gains from how `mova` sets up its process.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mova_core.bench.parts import matmul_rate, shares
from mova_core.bench.plain_process import plain_process
from mova_core.bench.step_subject import (
    CONTEXT_ROWS,
    StepBench,
    Velocities,
    bench_inputs,
    bench_model,
    step_runners,
    threads_set,
    timed,
)
from mova_core.host_memory import keep_freed_memory
from mova_core.models.compiling import compile_layers
from mova_core.models.dual_tower import DualTower
from mova_core.training.performance import forward_flops

TOLERANCE = 1e-5
"""The largest difference, relative to the largest velocity, at which both count as the same equations."""


def run_step_bench(bench: StepBench) -> dict[str, Any]:
    """Measures and returns the one line of JSON, as a dictionary.

    Raises
    ------
    RuntimeError : if the two implementations disagree, which would make their comparison void.
    """
    kept = keep_freed_memory()
    model = bench_model().requires_grad_(bench.train)
    inputs = bench_inputs(model.config, bench.context_rows_used)
    with threads_set(bench.threads), plain_process(bench) as plain_elsewhere:
        ours, plain = step_runners(model, inputs, bench.train)
        started = time.process_time()
        velocities = ours()
        first = time.process_time() - started
        difference = _difference(velocities, plain())
        if difference > TOLERANCE:
            raise RuntimeError(f"the two implementations differ by {difference:.1e} of the largest velocity")
        runners = {"ours": timed(ours), "plain": plain_elsewhere, "plain_here": timed(plain)}
        if bench.compile:
            runners["compiled"] = timed(_compiled(model, inputs, bench.train))
        seconds = interleaved(runners, bench.rounds)
        rate = matmul_rate()
        flops = forward_flops(plain)
        best, best_plain, best_here = (min(seconds[name]) for name in ("ours", "plain", "plain_here"))
        return {
            "bench": "step",
            "mode": "forward and backward" if bench.train else "forward",
            "cpu_seconds_min": round(best, 4),
            "cpu_seconds_median": round(statistics.median(seconds["ours"]), 4),
            "first_cpu_seconds": round(first, 4),
            **_figures("plain", seconds),
            "ratio_to_plain": round(best / best_plain, 4),
            **_figures("plain_here", seconds),
            "ratio_to_plain_here": round(best / best_here, 4),
            **_compiled_figures(seconds),
            "parts_cpu_seconds": {name: round(share * best, 4) for name, share in shares(ours).items()},
            "plain_parts_cpu_seconds": {name: round(share * best_here, 4) for name, share in shares(plain).items()},
            "plain_gflop": round(flops / 1e9, 2),
            "matmul_gflop_per_cpu_second": round(rate, 1),
            "plain_floor_cpu_seconds": round(flops / 1e9 / rate, 4),
            "largest_difference": difference,
            "context_rows": CONTEXT_ROWS,
            "context_rows_used": bench.context_rows_used,
            "rounds": bench.rounds,
            "threads": bench.threads,
            "keeps_freed_memory": kept,
            "torch": torch.__version__,
            "processor": torch.backends.cpu.get_cpu_capability(),
        }


def interleaved(runners: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What every run of every runner returned, taken in turn so that a slow spell meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            seconds[name].append(run())
    return seconds


def _compiled(model: DualTower, inputs: dict[str, Any], train: bool) -> Callable[[], Velocities]:
    copied = copy.deepcopy(model)
    compile_layers(copied, torch.device("cpu"))
    run, _ = step_runners(copied, inputs, train)
    run()
    return run


def _figures(name: str, seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {
        f"{name}_cpu_seconds_min": round(min(seconds[name]), 4),
        f"{name}_cpu_seconds_median": round(statistics.median(seconds[name]), 4),
    }


def _compiled_figures(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    if "compiled" not in seconds:
        return {}
    ratio = round(min(seconds["compiled"]) / min(seconds["plain"]), 4)
    return {**_figures("compiled", seconds), "compiled_ratio_to_plain": ratio}


def _difference(ours: Velocities, plain: Velocities) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, plain, strict=True))
