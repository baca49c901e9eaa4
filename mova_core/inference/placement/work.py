"""What the stages of a run make beside weights: inputs, outputs and everything in between, in bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mova_core.codecs.base import Codecs, audio_latent_shape, video_latent_shape
from mova_core.inference.inputs import Settings
from mova_core.inference.placement.layout import AUDIO, EXPERTS, TEXT, VIDEO, codec_modules
from mova_core.inference.placement.metering import peak_bytes, without_storage
from mova_core.inference.rows import rows_at_once
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import Linear, set_compute_dtype

METERED_LAYERS = 3
"""Layers are alike, so a few of them hold as much at once as all; three are enough for a Bridge under any strategy."""
METERED_FRAMES = (3, 6)
"""Latent frames at which a video codec is metered. It works through time, so what it holds grows by the same for each
further frame, or nothing (checked on the released codec at 3, 6 and 12)."""


@dataclass(frozen=True)
class Run:
    """The shapes of what is generated at once.

    Attributes
    ----------
    num_clips : clips of a batch.
    num_rows : samples that guidance evaluates together, where they are short (`mova_core.inference.rows`).
    num_prompts, num_text_rows : texts encoded at once, and rows of each.
    video : latents `[c, F, h, w]` of a clip. audio : latents `[c, l]`.
    temporal_stride, spatial_stride : frames and pixels of a video latent.
    """

    num_clips: int
    num_rows: int
    num_prompts: int
    num_text_rows: int
    video: tuple[int, int, int, int]
    audio: tuple[int, int]
    temporal_stride: int
    spatial_stride: int
    fps: float


def run_of(codecs: Codecs, settings: Settings, num_clips: int, num_rows: int, num_prompts: int) -> Run:
    """The shapes of clips with these settings."""
    return Run(
        num_clips=num_clips,
        num_rows=num_rows,
        num_prompts=num_prompts,
        num_text_rows=codecs.text.max_tokens,
        video=video_latent_shape(codecs.video, settings.num_frames, settings.height, settings.width),
        audio=audio_latent_shape(codecs.audio, settings.num_samples(codecs.audio.sample_rate_hz)),
        temporal_stride=codecs.video.temporal_stride,
        spatial_stride=codecs.video.spatial_stride,
        fps=settings.fps,
    )


def work_of(model: DualTower, codecs: Codecs | None, run: Run) -> dict[str, int]:
    """The most that each stage makes at once."""
    work = dict.fromkeys(EXPERTS, joint_bytes(model, run))
    if codecs is not None:
        work |= {TEXT: text_bytes(codecs, run), VIDEO: video_bytes(codecs, run), AUDIO: audio_bytes(codecs, run)}
    return work


def joint_bytes(model: DualTower, run: Run) -> int:
    """One evaluation of the joint model, with the latents, conditions and texts that sampling keeps."""
    dtype = next(model.audio_dit.blocks.parameters()).dtype
    compute_dtype = next(module.compute_dtype for module in model.modules() if isinstance(module, Linear))
    with torch.device("meta"):
        shallow = DualTower(_shallow(model.config), "reference").to(dtype).eval().requires_grad_(False)
        set_compute_dtype(shallow, compute_dtype)
    given = model.config.video.in_dim - model.config.video.out_dim
    num_rows = min(run.num_rows, rows_at_once(model, run.video[1:]))
    condition, text = (given, *run.video[1:]), (run.num_text_rows, model.config.video.text_dim)

    def evaluate() -> None:
        kept = [_meta(run.num_clips, *shape) for shape in (run.video, run.video, run.audio, run.audio, condition)]
        kept += [_meta(run.num_prompts, *text)]
        video, audio, texts = (_meta(num_rows, *shape) for shape in (run.video, run.audio, text))
        given_rows = _meta(num_rows, *condition) if given else None
        timestep = _meta(1)
        shallow(
            video, given_rows, audio, timestep, timestep, texts, expert="high_noise", bridge=True, video_fps=run.fps
        )
        del kept

    return peak_bytes(evaluate)


def video_bytes(codecs: Codecs, run: Run) -> int:
    """The larger of encoding given frames and decoding clips."""
    codec = codecs.video
    channels, num_latents, rows, columns = run.video
    pixels = (rows * run.spatial_stride, columns * run.spatial_stride)

    def encoding(length: int) -> None:
        codec.encode_first_frame(_meta(run.num_clips, 3, 1, *pixels), 1 + (length - 1) * run.temporal_stride)

    def decoding(length: int) -> None:
        for _ in codec.decode_parts(_meta(run.num_clips, channels, length, rows, columns)):
            pass

    with without_storage(*codec_modules(codec)):
        return max(_at_length(work, num_latents) for work in (encoding, decoding))


def audio_bytes(codecs: Codecs, run: Run) -> int:
    """Decoding clips."""
    codec = codecs.audio
    with without_storage(*codec_modules(codec)):
        return peak_bytes(lambda: codec.decode(_meta(run.num_clips, *run.audio)))


def text_bytes(codecs: Codecs, run: Run) -> int:
    """An upper bound for a transformer of this width: its masks look at values, so it does not run without storage."""
    rows, encoder = run.num_text_rows, codecs.text
    linears = [module for root in codec_modules(encoder) for module in root.modules() if isinstance(module, nn.Linear)]
    widest = max((linear.out_features for linear in linears), default=encoder.dim)
    scores = 2 * max(1, encoder.dim // 32) * rows  # of heads that are 32 wide or wider, and their softmax
    return run.num_prompts * rows * (scores + 3 * widest + 8 * encoder.dim) * torch.float32.itemsize


def _at_length(work: Callable[[int], None], length: int) -> int:
    """The peak of work on `length` latent frames, from two short ones where it is long."""
    short, longer = METERED_FRAMES
    if length <= longer:
        return peak_bytes(lambda: work(length))
    least = peak_bytes(lambda: work(short))
    each = (peak_bytes(lambda: work(longer)) - least) / (longer - short)
    return round(least + each * (length - short))


def _shallow(config: DualTowerConfig) -> DualTowerConfig:
    video, audio = (min(METERED_LAYERS, tower.num_layers) for tower in (config.video, config.audio))
    return dataclasses.replace(
        config,
        num_experts=1,
        video=dataclasses.replace(config.video, num_layers=video),
        audio=dataclasses.replace(config.audio, num_layers=audio),
        bridge=dataclasses.replace(config.bridge, visual_layers=video, audio_layers=audio),
    )


def _meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")
