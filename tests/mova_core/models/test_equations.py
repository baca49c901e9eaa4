"""The joint model against its equations, written a second time: options, shapes, rates, timesteps, bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_equations import joint_step

from mova_core.models.dual_tower import DualTower

FULL_WIDTH = {"video_dim": 48, "audio_dim": 24, "bridge_visual_hidden_dim": 48, "bridge_audio_hidden_dim": 24}
DEEP = {"video_num_layers": 5, "bridge_visual_layers": 5, "audio_num_layers": 4, "bridge_audio_layers": 4}
ROUNDING = 1e-5
SLACK = 1.5
"""How much farther from float32 than plain bfloat16 ours may be."""


def rel_to_max(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def inputs(model: DualTower, batch: int, grid: tuple[int, int, int], audio: int, rows: int = 4) -> list[torch.Tensor]:
    """Latents with their condition, audio latents, and text that two zero rows follow."""
    generator = torch.Generator().manual_seed(batch + audio)
    config = model.config
    shapes = ((config.video.in_dim, *grid), (config.audio.in_dim, audio), (rows, config.video.text_dim))
    video, sound, text = (torch.randn(batch, *shape, generator=generator) for shape in shapes)
    return [video, sound, torch.nn.functional.pad(text, (0, 0, 0, 2))]


def velocities(
    model: DualTower, given: list[torch.Tensor], times: tuple[torch.Tensor, torch.Tensor], fps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    video, audio, text = given
    noisy = model.config.video.out_dim
    condition = video[:, noisy:] if video.shape[1] > noisy else None
    found: tuple[torch.Tensor, torch.Tensor] = model(
        video[:, :noisy], condition, audio, *times, text, expert="high_noise", video_fps=fps
    )
    return found


@pytest.mark.parametrize(
    ("changes", "grid", "audio", "fps", "interacting"),
    [
        ({}, (2, 4, 6), 9, 24.0, (0, 1)),
        ({"video_in_dim": 16}, (3, 2, 8), 7, 24.0, (0, 1)),
        ({"audio_vae_type": "oobleck", "bridge_apply_cross_rope": False}, (2, 4, 2), 13, 24.0, (0, 1)),
        ({"bridge_apply_first_frame_bias_in_rope": True}, (1, 4, 4), 1, 24.0, (0, 1)),
        (
            {"bridge_apply_first_frame_bias_in_rope": True, "bridge_audio_fps": 44100 / 2048},
            (5, 2, 4),
            31,
            16.0,
            (0, 1),
        ),
        ({"bridge_pooled_adaln": True, **FULL_WIDTH}, (3, 4, 2), 19, 30.0, (0, 1)),
        ({"bridge_pooled_adaln": True, **FULL_WIDTH}, (7, 2, 2), 3, 24.0, (0, 1)),
        ({"bridge_pooled_adaln": True, "bridge_trainable_condition_scale": True}, (1, 4, 2), 6, 23.976, (0, 1)),
        ({"bridge_interaction_strategy": "shallow_focus", **DEEP}, (2, 2, 4), 5, 24.0, (0,)),
        ({"bridge_interaction_strategy": "distributed", **DEEP}, (2, 2, 4), 5, 24.0, (0, 3)),
        ({"bridge_interaction_strategy": "custom", **DEEP}, (2, 2, 4), 5, 24.0, (0, 2)),
        ({"video_num_layers": 1, "bridge_visual_layers": 1}, (2, 2, 4), 5, 24.0, (0,)),
        ({"video_patch_size": (2, 2, 2), "audio_patch_size": (3,)}, (4, 4, 2), 9, 24.0, (0, 1)),
    ],
)
def test_every_option_computes_its_equations(
    make_model: Callable[..., DualTower],
    changes: dict[str, Any],
    grid: tuple[int, int, int],
    audio: int,
    fps: float,
    interacting: tuple[int, ...],
) -> None:
    """Three samples, each with its own two timesteps."""
    model = make_model(**changes).requires_grad_(False)
    assert model.dual_tower_bridge.layers == interacting
    given = inputs(model, 3, grid, audio)
    times = torch.tensor([999.0, 500.25, 0.0]), torch.tensor([10.0, 1000.0, 400.0])
    found = velocities(model, given, times, fps)
    video, sound, text = given
    expected = joint_step(model.state_dict(), model.config, video, sound, times, text, fps, interacting)
    for velocity, plain in zip(found, expected, strict=True):
        assert velocity.shape == plain.shape
        assert rel_to_max(velocity, plain) <= ROUNDING


@pytest.mark.parametrize("pooled", [False, True])
def test_bfloat16_rounds_no_more_than_a_plain_implementation(
    make_model: Callable[..., DualTower], pooled: bool
) -> None:
    model = make_model(bridge_pooled_adaln=pooled, **FULL_WIDTH).requires_grad_(False).bfloat16()
    given = [each.bfloat16() for each in inputs(model, 2, (3, 4, 4), 19, rows=60)]
    times = torch.tensor([700.0]), torch.tensor([30.0])
    narrow = model.state_dict()
    exact, plain = (
        joint_step(
            {name: value.to(dtype) for name, value in narrow.items()},
            model.config,
            given[0].to(dtype),
            given[1].to(dtype),
            times,
            given[2].to(dtype),
            24.0,
            (0, 1),
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    for velocity, wide, rounded in zip(velocities(model, given, times, 24.0), exact, plain, strict=True):
        assert velocity.dtype == torch.bfloat16
        assert rel_to_max(velocity, wide) <= SLACK * rel_to_max(rounded, wide)
