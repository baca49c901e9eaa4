"""A joint model of a few thousand parameters, all of them random, and a batch that fits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig

TINY = DualTowerConfig(
    video=VideoTowerConfig(
        dim=24, in_dim=36, ffn_dim=40, out_dim=16, text_dim=6, freq_dim=8, num_heads=2, num_layers=3
    ),
    audio=AudioTowerConfig(dim=12, in_dim=5, ffn_dim=20, out_dim=5, text_dim=6, freq_dim=8, num_heads=1, num_layers=2),
    bridge=BridgeConfig(
        visual_layers=3, audio_layers=2, visual_hidden_dim=24, audio_hidden_dim=12, audio_fps=50.0, head_dim=12
    ),
)


@pytest.fixture
def tiny_config() -> DualTowerConfig:
    return TINY


@pytest.fixture
def make_model() -> Callable[..., DualTower]:
    """Builds the tiny model with every parameter random; keywords replace fields of its configuration.

    Those that start with `bridge_` or `video_` or `audio_` go to that component.
    """

    def make(**changes: Any) -> DualTower:
        config = TINY
        for name, value in changes.items():
            component, _, field = name.partition("_")
            if component in ("bridge", "video", "audio"):
                part = dataclasses.replace(getattr(config, component), **{field: value})
                config = dataclasses.replace(config, **{component: part})
            else:
                config = dataclasses.replace(config, **{name: value})
        model = DualTower(config)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(mean=0.1, std=0.4, generator=generator)
        return model

    return make


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three samples at different noise levels, the keyword arguments of `DualTower.forward` up to `text`."""
    generator = torch.Generator().manual_seed(8)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(3, *shape, generator=generator)

    return {
        "video_latents": draw(16, 2, 4, 6),
        "condition": draw(20, 2, 4, 6),
        "audio_latents": draw(5, 9),
        "video_timestep": torch.tensor([999.0, 500.0, 3.0]),
        "audio_timestep": torch.tensor([10.0, 700.0, 400.0]),
        "text": draw(4, 6),
    }
