"""What `mova bench step` measures: one model, one clip, and a step of it by our implementation and by the plain one."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mova_core.bench.plain import plain_step
from mova_core.errors import UserError
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.context import ContextMemory
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig

Velocities = tuple[torch.Tensor, torch.Tensor]

FPS = 24.0
VIDEO_SHAPE = (5, 28, 28)
"""Latent frames, rows and columns: 980 tokens of patches 1 x 2 x 2."""
AUDIO_LENGTH = 60
CONTEXT_ROWS = 512


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

    def __post_init__(self) -> None:
        """Raises `UserError` for a number that makes no sense."""
        for name, value, most in (
            ("rounds", self.rounds, None),
            ("threads", self.threads, None),
            ("context-rows-used", self.context_rows_used, CONTEXT_ROWS),
        ):
            if value < 1 or (most is not None and value > most):
                upper = "" if most is None else f" and at most {most}"
                raise UserError(
                    f"--{name} is {value}", expected=f"at least 1{upper}", remedy="leave it out for the default"
                )


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


def step_runners(
    model: DualTower, inputs: dict[str, Any], train: bool
) -> tuple[Callable[[], Velocities], Callable[[], Velocities]]:
    """A step by our implementation and a step by the plain one; with `train`, forward and backward."""
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


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """`run`, returning the CPU-seconds that this process took for it."""

    def measured() -> float:
        gc.collect()
        started = time.process_time()
        run()
        return time.process_time() - started

    return measured


@contextlib.contextmanager
def threads_set(count: int) -> Iterator[None]:
    """A context in which PyTorch uses that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
