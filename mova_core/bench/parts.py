"""Where a step's time goes, and the least it could take: profiled parts, counted products, a measured product rate."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SQUARE = 1024
PARTS = {
    "products": ("::addmm", "::mm", "::bmm", "::baddbmm", "linear_pointwise", "::convolution", "mkldnn_conv"),
    "attention": ("_attention", "softmax"),
    "activations": ("gelu", "silu", "sigmoid", "tanh"),
    "norms": ("norm", "rsqrt", "::mean", "::pow", "square"),
    "rotations": ("complex", "polar", "::cos", "::sin"),
    "copies": ("::copy_", "::cat", "::contiguous", "::clone", "::fill_", "::zero"),
    "elementwise": ("::add", "::mul", "::div", "::sub", "::neg", "::sum", "addcmul", "Add", "Mul"),
}
"""Parts by what their operators' names contain; the first that fits counts, and what fits none is `other`."""


def shares(run: Callable[[], object]) -> dict[str, float]:
    """The share of each part in `run`'s time, by the operators' own time in the profiler; shares sum to 1."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    spent = dict.fromkeys((*PARTS, "other"), 0.0)
    for event in profiler.key_averages():
        spent[_part(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {name: own / total for name, own in spent.items()}


def matmul_rate(repeats: int = 5) -> float:
    """The best GFLOP per CPU-second of a float32 product of square matrices, with the threads that are set."""
    a, b = torch.randn(2, SQUARE, SQUARE).unbind()
    best = float("inf")
    torch.mm(a, b)
    for _ in range(repeats):
        started = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - started)
    return 2 * SQUARE**3 / best / 1e9


def _part(operator: str) -> str:
    return next((part for part, words in PARTS.items() if any(word in operator for word in words)), "other")
