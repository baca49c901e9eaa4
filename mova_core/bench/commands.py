"""The command line of `mova bench gpu-step` and `mova bench memory`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

MODES = ("resident", "swap", "stream")


def add_gpu_step(benches: Any) -> None:
    """`mova bench gpu-step`."""
    summary = "a sampling step of the full-size model in every memory mode: time, utilisation, peak memory"
    command = benches.add_parser(
        "gpu-step",
        help=summary,
        description=f"Measures {summary}. Weights are random and take 2 GB of the host's memory; no file is read.",
    )
    command.add_argument("--device", default="cuda", help="where (default: cuda)")
    command.add_argument(
        "--preset", default="mova-360p", help="whose model and clip (default: mova-360p); tiny runs anywhere"
    )
    command.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="default: all three")
    command.add_argument("--rounds", type=int, default=5, metavar="N", help="measured steps an expert (default: 5)")
    command.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), metavar="DIR", help="default: docs/benchmarks"
    )
    command.set_defaults(action=_gpu_step)


def add_memory(benches: Any) -> None:
    """`mova bench memory`."""
    summary = "what each memory mode takes for one clip of a checkpoint, beside what was said before it started"
    command = benches.add_parser("memory", help=summary, description=f"Measures {summary}.")
    command.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="a release, or a trained phase")
    command.add_argument("--codecs", type=Path, metavar="DIR", help="default: beside the model")
    command.add_argument("--device", default="cpu", help="where (default: cpu)")
    command.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="default: all three")
    for option in ("--height", "--width", "--num-frames"):
        command.add_argument(option, type=int, metavar="N", help="default: what the checkpoint is meant for")
    command.set_defaults(action=_memory)


def _gpu_step(options: argparse.Namespace) -> int:
    from mova_core.bench.gpu_step import GpuStepBench, run_gpu_step_bench

    bench = GpuStepBench(
        device=options.device,
        preset=options.preset,
        modes=tuple(options.modes),
        rounds=options.rounds,
        out=options.out,
    )
    print(json.dumps(run_gpu_step_bench(bench)))
    return 0


def _memory(options: argparse.Namespace) -> int:
    from mova_core.bench.memory import MemoryBench, run_memory_bench

    bench = MemoryBench(
        checkpoint=options.checkpoint,
        codecs=options.codecs,
        device=options.device,
        modes=tuple(options.modes),
        height=options.height,
        width=options.width,
        num_frames=options.num_frames,
    )
    print(json.dumps(run_memory_bench(bench)))
    return 0
