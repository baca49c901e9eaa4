"""`mova bench step`: what one joint step costs on the CPU, beside a plain implementation, in one run.

Rounds are interleaved (ours, plain, ours, ...), because a shared machine's speed drifts by the minute. CPU-seconds of
the whole process are taken, not the clock's, and compared by their minima: what a machine adds is never negative. The
first step, which makes what a sampler keeps for a clip (the text's projections), is stated on its own.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from mova_core.bench.parts import matmul_rate, shares
from mova_core.bench.plain import plain_step
from mova_core.errors import UserError
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.compiling import compile_layers
from mova_core.models.context import ContextMemory
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig
from mova_core.training.performance import forward_flops

Velocities = tuple[torch.Tensor, torch.Tensor]

FPS = 24.0
VIDEO_SHAPE = (5, 28, 28)
"""Latent frames, rows and columns: 980 tokens of patches 1 x 2 x 2."""
AUDIO_LENGTH = 60
CONTEXT_ROWS = 512
TOLERANCE = 1e-5
"""The largest difference, relative to the largest velocity, at which both count as the same equations."""


@dataclasses.dataclass(frozen=True)
class StepBench:
    """What to measure.

    Attributes
    ----------
    train : forward and backward instead of one step of a sampler.
    rounds : how often each implementation runs; the first run of each is not counted.
    threads : of PyTorch.
    compile : measure the layers that `torch.compile` makes as well; takes a minute more.
    context_rows_used : rows of the text context that are not zero; the rest is padding, as after a short prompt.
    """

    train: bool = False
    rounds: int = 7
    threads: int = 2
    context_rows_used: int = CONTEXT_ROWS
    compile: bool = False


def bench_model() -> DualTower:
    """A model of widths 512 and 256, 8 and 6 layers, heads as wide as the release's, seeded random weights."""
    torch.manual_seed(0)
    config = DualTowerConfig(
        video=VideoTowerConfig(
            dim=512, in_dim=36, ffn_dim=2048, out_dim=16, text_dim=4096, freq_dim=256, num_heads=4, num_layers=8
        ),
        audio=AudioTowerConfig(
            dim=256, in_dim=128, ffn_dim=1024, out_dim=128, text_dim=4096, freq_dim=256, num_heads=2, num_layers=6
        ),
        bridge=BridgeConfig(
            visual_layers=8, audio_layers=6, visual_hidden_dim=512, audio_hidden_dim=256, audio_fps=50.0, head_dim=128
        ),
        num_experts=1,
    )
    return DualTower(config)


def bench_inputs(config: DualTowerConfig, rows_used: int) -> dict[str, Any]:
    """One clip's arguments of `DualTower.forward`, seeded."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    text = draw(CONTEXT_ROWS, config.video.text_dim)
    text[:, rows_used:] = 0
    return {
        "video_latents": draw(config.video.out_dim, *VIDEO_SHAPE),
        "condition": draw(config.video.in_dim - config.video.out_dim, *VIDEO_SHAPE),
        "audio_latents": draw(config.audio.in_dim, AUDIO_LENGTH),
        "video_timestep": torch.tensor([700.0]),
        "audio_timestep": torch.tensor([300.0]),
        "text": text,
        "expert": "high_noise",
        "video_fps": FPS,
    }


def run_step_bench(bench: StepBench) -> dict[str, Any]:
    """Measures and returns the one line of JSON, as a dictionary.

    Raises
    ------
    UserError : if a number makes no sense.
    RuntimeError : if the two implementations disagree, which would make their comparison void.
    """
    _check(bench)
    model = bench_model().requires_grad_(bench.train)
    inputs = bench_inputs(model.config, bench.context_rows_used)
    with _threads(bench.threads):
        ours, plain = _runners(model, inputs, bench.train)
        started = time.process_time()
        velocities = ours()
        first = time.process_time() - started
        difference = _difference(velocities, plain())
        if difference > TOLERANCE:
            raise RuntimeError(f"the two implementations differ by {difference:.1e} of the largest velocity")
        runners = {"ours": ours, "plain": plain}
        if bench.compile:
            runners["compiled"] = _compiled(model, inputs, bench.train)
        seconds = interleaved(runners, bench.rounds)
        rate = matmul_rate()
        flops = forward_flops(plain)
        best, best_plain = min(seconds["ours"]), min(seconds["plain"])
        return {
            "bench": "step",
            "mode": "forward and backward" if bench.train else "forward",
            "cpu_seconds_min": round(best, 4),
            "cpu_seconds_median": round(statistics.median(seconds["ours"]), 4),
            "first_cpu_seconds": round(first, 4),
            "plain_cpu_seconds_min": round(best_plain, 4),
            "plain_cpu_seconds_median": round(statistics.median(seconds["plain"]), 4),
            "ratio_to_plain": round(best / best_plain, 4),
            **_compiled_figures(seconds),
            "parts_cpu_seconds": {name: round(share * best, 4) for name, share in shares(ours).items()},
            "plain_parts_cpu_seconds": {name: round(share * best_plain, 4) for name, share in shares(plain).items()},
            "plain_gflop": round(flops / 1e9, 2),
            "matmul_gflop_per_cpu_second": round(rate, 1),
            "plain_floor_cpu_seconds": round(flops / 1e9 / rate, 4),
            "largest_difference": difference,
            "context_rows": CONTEXT_ROWS,
            "context_rows_used": bench.context_rows_used,
            "rounds": bench.rounds,
            "threads": bench.threads,
            "torch": torch.__version__,
            "processor": torch.backends.cpu.get_cpu_capability(),
        }


def interleaved(runners: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU-seconds of every run of every runner, taken in turn so that a slow spell meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            gc.collect()
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    return seconds


def _compiled(model: DualTower, inputs: dict[str, Any], train: bool) -> Callable[[], Velocities]:
    copied = copy.deepcopy(model)
    compile_layers(copied, torch.device("cpu"))
    run, _ = _runners(copied, inputs, train)
    run()
    return run


def _compiled_figures(seconds: dict[str, list[float]]) -> dict[str, float]:
    if "compiled" not in seconds:
        return {}
    best = min(seconds["compiled"])
    return {
        "compiled_cpu_seconds_min": round(best, 4),
        "compiled_cpu_seconds_median": round(statistics.median(seconds["compiled"]), 4),
        "compiled_ratio_to_plain": round(best / min(seconds["plain"]), 4),
    }


def _runners(
    model: DualTower, inputs: dict[str, Any], train: bool
) -> tuple[Callable[[], Velocities], Callable[[], Velocities]]:
    remembered = ContextMemory(torch.float32)

    def ours() -> Velocities:
        # A sampler reads the same text at every step and keeps what it made of it; a training step reads a new one.
        given = inputs if train else inputs | {"text": remembered(inputs["text"])}
        velocities: Velocities = model(**given)
        return velocities

    def plain() -> Velocities:
        return plain_step(model, **inputs)

    return (_with_backward(model, ours), _with_backward(model, plain)) if train else (_sampling(ours), _sampling(plain))


def _sampling(forward: Callable[[], Velocities]) -> Callable[[], Velocities]:
    def run() -> Velocities:
        with torch.inference_mode():
            return forward()

    return run


def _with_backward(model: DualTower, forward: Callable[[], Velocities]) -> Callable[[], Velocities]:
    """Forward and backward of the mean square of both velocities; the gradients are made anew, as after a step."""

    def run() -> Velocities:
        for parameter in model.parameters():
            parameter.grad = None
        velocities = forward()
        torch.autograd.backward([part.square().mean() for part in velocities])
        return velocities[0].detach(), velocities[1].detach()

    return run


def _difference(ours: Velocities, plain: Velocities) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, plain, strict=True))


def _check(bench: StepBench) -> None:
    for name, value, most in (
        ("rounds", bench.rounds, None),
        ("threads", bench.threads, None),
        ("context-rows-used", bench.context_rows_used, CONTEXT_ROWS),
    ):
        if value < 1 or (most is not None and value > most):
            upper = "" if most is None else f" and at most {most}"
            raise UserError(
                f"--{name} is {value}", expected=f"at least 1{upper}", remedy="leave it out for the default"
            )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
