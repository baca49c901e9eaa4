"""`mova bench gpu-step`: a sampling step of the full-size model in every memory mode, on random weights.

A step is what sampling does between two noise levels: every evaluation that text guidance asks for, through the same
code (`mova_core.inference.denoising`), with weights placed as the mode says. Values do not matter for time, so equal
layers share their numbers and nothing is read from files; streamed layers come from host memory.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from mova_core.bench.flops import evaluation_flops
from mova_core.bench.host_peak import HostPeak
from mova_core.bench.machine import copy_rate, device_peak, product_rate, provenance, seconds_of
from mova_core.bench.random_weights import random_model
from mova_core.config import parse_config, preset_text
from mova_core.diffusion.schedule import Point
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.inference.denoising import GuidedVelocity
from mova_core.inference.encoded import Encoded
from mova_core.inference.inputs import Settings
from mova_core.inference.known import KnownPair
from mova_core.inference.placement import Placement, Run
from mova_core.inference.placement.layout import MODES, Mode
from mova_core.inference.placement.ring import Ring
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.build import MASK_CHANNELS, tower_config
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig
from mova_core.progress import say

HIGH_NOISE, LOW_NOISE = 0.95, 0.5
"""Noise levels of the two experts' steps."""
TEXT_GUIDANCE = 5.0
RELEASED_CODECS: dict[str, Any] = {
    "video_latent_channels": 16,
    "audio_latent_channels": 128,
    "text_dim": 4096,
    "audio_latent_rate_hz": 50.0,
}
SPATIAL_STRIDE, TEMPORAL_STRIDE = 8, 4


@dataclasses.dataclass(frozen=True)
class GpuStepBench:
    """What to measure.

    Attributes
    ----------
    preset : a preset with the released codecs, or `tiny` (a model that any machine runs, to try the benchmark).
    modes : memory modes, in this order.
    rounds : measured steps of each expert, after one that is not counted.
    out : a folder for the JSON; None prints only.
    """

    device: str = "cuda"
    preset: str = "mova-360p"
    modes: tuple[Mode, ...] = MODES
    rounds: int = 5
    out: Path | None = Path("docs/benchmarks")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model's shape and its clip."""

    config: DualTowerConfig
    dtype: torch.dtype
    settings: Settings
    video: tuple[int, int, int, int]
    audio: tuple[int, int]
    num_text_rows: int

    @property
    def num_video_tokens(self) -> int:
        frames, rows, columns = (n // p for n, p in zip(self.video[1:], self.config.video.patch_size, strict=True))
        return frames * rows * columns


def run_gpu_step_bench(bench: GpuStepBench) -> dict[str, Any]:
    """Measures, writes the JSON and returns it.

    Raises
    ------
    UserError : if there is no such device or preset, or a number makes no sense.
    """
    device = _device(bench)
    subject = subject_of(bench.preset)
    say(f"random weights of {bench.preset}, one layer of each kind")
    model = random_model(subject.config, subject.dtype)
    peak, rate = product_rate(device, subject.dtype), copy_rate(device)
    flops = evaluation_flops(subject.config, subject.num_video_tokens, subject.audio[1], subject.num_text_rows)
    num_evaluations = len(GuidedVelocity(model, _encoded(subject, device), subject.settings).branches)
    result: dict[str, Any] = {
        "bench": "gpu-step",
        "preset": bench.preset,
        **provenance(device),
        "dtype": str(subject.dtype).removeprefix("torch."),
        "clip": {name: getattr(subject.settings, name) for name in ("height", "width", "num_frames", "fps")},
        "tokens": {"video": subject.num_video_tokens, "audio": subject.audio[1], "text": subject.num_text_rows},
        "evaluations_a_step": num_evaluations,
        "flop_an_evaluation": dataclasses.asdict(flops) | {"total": flops.total},
        "measured_product_flop_per_second": peak,
        "measured_copy_bytes_per_second": rate,
        "rounds": bench.rounds,
        "modes": {},
    }
    for mode in bench.modes:
        say(f"measuring {mode}")
        measured = _measure(mode, model, subject, device, bench.rounds)
        if "seconds_median" in measured:
            utilisation = flops.total * num_evaluations / measured["seconds_median"] / peak
            measured["model_flops_utilisation"] = round(utilisation, 4)
        result["modes"][mode] = measured
    if bench.out is not None:
        path = bench.out / f"gpu-step-{bench.preset}-{_slug(result['device'])}.json"
        write_text(path, json.dumps(result, indent=2) + "\n")
        say(f"wrote {path}")
    return result


def subject_of(preset: str) -> Subject:
    """The model and clip of a preset.

    Raises
    ------
    UserError : if there is no such preset.
    """
    if preset == "tiny":
        config, dtype, (height, width, num_frames), rows = tiny_config(), torch.float32, (64, 64, 9), 16
    else:
        section = parse_config(preset_text(preset), source=f"preset {preset}")
        config, dtype, rows = tower_config(section.model, **RELEASED_CODECS), torch.bfloat16, 512
        sizes = section.sample.sets[0]
        height, width, num_frames = sizes.height, sizes.width, section.media.num_frames
    settings = Settings(1, TEXT_GUIDANCE, 1.0, True, height, width, num_frames, 24.0)
    latents = (1 + (num_frames - 1) // TEMPORAL_STRIDE, height // SPATIAL_STRIDE, width // SPATIAL_STRIDE)
    length = -(-round(num_frames / settings.fps * 48000) // 960)
    return Subject(config, dtype, settings, (config.video.out_dim, *latents), (config.audio.in_dim, length), rows)


def tiny_config() -> DualTowerConfig:
    """Two experts of four layers, 48 wide."""
    shape: dict[str, Any] = {"dim": 48, "ffn_dim": 96, "num_heads": 2, "num_layers": 4, "freq_dim": 32, "text_dim": 32}
    return DualTowerConfig(
        video=VideoTowerConfig(in_dim=36, out_dim=16, **shape),
        audio=AudioTowerConfig(in_dim=16, out_dim=16, **shape),
        bridge=BridgeConfig(
            visual_layers=4, audio_layers=4, visual_hidden_dim=48, audio_hidden_dim=48, audio_fps=50.0, head_dim=24
        ),
    )


def _measure(mode: Mode, model: DualTower, subject: Subject, device: torch.device, rounds: int) -> dict[str, Any]:
    """One mode: steps of the high-noise expert, then of the low-noise one; or why it cannot run here."""
    placement = Placement(model, None, device, mode)
    video, audio = subject.video, subject.audio
    run = Run(1, 2, 2, subject.num_text_rows, video, audio, TEMPORAL_STRIDE, SPATIAL_STRIDE, subject.settings.fps)
    try:
        with device_peak(device) as peak, HostPeak() as host, torch.inference_mode():
            placement.prepare(run)
            need = placement.need
            assert need is not None
            velocity = GuidedVelocity(model, _encoded(subject, device), subject.settings)
            firsts, seconds = [], []
            for sigma in (HIGH_NOISE, LOW_NOISE):
                step = functools.partial(_step, velocity, sigma)
                firsts.append(seconds_of(step, device))
                seconds += [seconds_of(step, device) for _ in range(rounds)]
            memory = peak()
    except UserError as error:
        return {"refused": str(error)}
    finally:
        placement.close()
        gc.collect()
    return {
        "seconds": [round(each, 6) for each in seconds],
        "seconds_median": round(statistics.median(seconds), 6),
        "seconds_min": round(min(seconds), 6),
        "seconds_max": round(max(seconds), 6),
        "first_step_seconds_of_each_expert": [round(each, 6) for each in firsts],
        **memory,
        "host_own_bytes": host.added_bytes,
        "needed_device_bytes": need.device_bytes,
        "needed_host_bytes": need.host_bytes,
        "streamed_bytes_an_evaluation": _streamed_bytes(placement, mode),
    }


def _step(velocity: GuidedVelocity, sigma: float) -> None:
    velocity(velocity.encoded.noise, Point(sigma, sigma, 1000 * sigma, 1000 * sigma))


def _streamed_bytes(placement: Placement, mode: Mode) -> int:
    """What passes through the rings for one evaluation with the Bridge."""
    guests = placement.layouts[mode].stages["high-noise expert"]
    rings = [guest for guest in guests if isinstance(guest, Ring)]
    return sum(ring.cycle_bytes for ring in rings)


def _encoded(subject: Subject, device: torch.device) -> Encoded:
    """One clip of noise with a random prompt."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator).to(device)

    text_shape = (subject.num_text_rows, subject.config.video.text_dim)
    channels = subject.config.video.in_dim - subject.config.video.out_dim
    assert channels == subject.video[0] + MASK_CHANNELS
    return Encoded(
        text=draw(*text_shape),
        empty_text=draw(*text_shape),
        condition=draw(channels, *subject.video[1:]),
        noise=(draw(*subject.video), draw(*subject.audio)),
        known=KnownPair(),
    )


def _device(bench: GpuStepBench) -> torch.device:
    if bench.rounds < 1:
        raise UserError(f"--rounds is {bench.rounds}", expected="at least 1", remedy="leave it out for the default")
    device = torch.device(bench.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "there is no GPU that torch sees",
            expected="a CUDA device",
            remedy="run it where one is, or try the benchmark with --device cpu --preset tiny",
        )
    return device


def _slug(device: str) -> str:
    return "-".join(device.lower().split()).replace("/", "-") or "cpu"
