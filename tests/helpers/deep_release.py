"""A tiny model whose towers differ in depth and have more layers than a ring has buffers."""

from __future__ import annotations

import dataclasses

import torch
from tiny_release import tiny_model

from mova_core.codecs.base import Codecs
from mova_core.diffusion.scheduler import Scheduler
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.placement import Memory
from mova_core.models.dual_tower import DualTower

VIDEO_LAYERS, AUDIO_LAYERS = 5, 3


def deep_model(seed: int = 0) -> DualTower:
    """As `tiny_model`: 5 video layers, 3 audio layers, and a Bridge at those that both have."""
    config = tiny_model(seed).config
    torch.manual_seed(seed)
    return DualTower(
        dataclasses.replace(
            config,
            video=dataclasses.replace(config.video, num_layers=VIDEO_LAYERS),
            audio=dataclasses.replace(config.audio, num_layers=AUDIO_LAYERS),
            bridge=dataclasses.replace(config.bridge, visual_layers=VIDEO_LAYERS, audio_layers=AUDIO_LAYERS),
        )
    )


def deep_pipeline(codecs: Codecs, memory: Memory = "resident") -> MovaPipeline:
    """A pipeline of that model."""
    scheduler = Scheduler(video_shift=2.0, audio_shift=3.0, num_given_frames=1)
    return MovaPipeline(deep_model(), codecs, scheduler, memory=memory)
