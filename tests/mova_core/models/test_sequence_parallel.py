"""Tokens spread over two processes: the velocities of one, whatever the lengths."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from two_processes import in_two_processes

from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig, check_heads
from mova_core.models.sequence_parallel import part_of
from mova_core.models.video_tower import VideoTowerConfig

CONFIG = DualTowerConfig(
    video=VideoTowerConfig(
        dim=48, in_dim=36, ffn_dim=40, out_dim=16, text_dim=6, freq_dim=8, num_heads=4, num_layers=3
    ),
    audio=AudioTowerConfig(dim=24, in_dim=5, ffn_dim=20, out_dim=5, text_dim=6, freq_dim=8, num_heads=2, num_layers=2),
    bridge=BridgeConfig(
        visual_layers=3, audio_layers=2, visual_hidden_dim=48, audio_hidden_dim=24, audio_fps=50.0, head_dim=12
    ),
)


def velocities(changes: dict[str, Any], num_frames: int, audio_length: int, spread: bool) -> tuple[torch.Tensor, ...]:
    """Of a batch of two, of which one sample has its Bridge off; all weights random, and equal in every process."""
    model = DualTower(dataclasses.replace(CONFIG, bridge=dataclasses.replace(CONFIG.bridge, **changes)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    if spread:
        model.spread_over_processes()

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(2, *shape, generator=generator)

    with torch.inference_mode():
        return model(
            draw(16, num_frames, 2, 6),
            draw(20, num_frames, 2, 6),
            draw(5, audio_length),
            torch.tensor([700.0]),
            torch.tensor([300.0]),
            draw(4, 6),
            expert="low_noise",
            bridge=torch.tensor([True, False]),
            video_fps=24.0,
        )


def every_case() -> list[torch.Tensor]:
    """In one call, because starting processes takes longer than the cases."""
    return [part for case in CASES for part in velocities(*case, spread=True)]


CASES: list[tuple[dict[str, Any], int, int]] = [
    ({}, 2, 10),  # even
    ({}, 3, 11),  # 9 video and 11 audio tokens: parts differ by one
    ({"pooled_adaln": True}, 3, 7),
    ({"apply_cross_rope": False, "trainable_condition_scale": True}, 3, 3),
]


@pytest.mark.slow
def test_two_processes_give_the_velocities_of_one(tmp_path: Path) -> None:
    expected = [part for case in CASES for part in velocities(*case, spread=False)]
    for found in in_two_processes(every_case, tmp_path / "rendezvous"):
        for own, other in zip(found, expected, strict=True):
            assert other.abs().max() > 0.1
            torch.testing.assert_close(torch.from_numpy(own), other, rtol=1e-5, atol=1e-6)


def test_parts_cover_the_sequence_and_differ_by_one_token_at_most() -> None:
    parts = [part_of(11, 4, rank) for rank in range(4)]
    assert [(part.first_token, part.length) for part in parts] == [(0, 3), (3, 3), (6, 3), (9, 2)]


def test_a_process_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens over 4 processes"):
        part_of(3, 4, 0)


def test_heads_that_cannot_be_shared_evenly_are_named() -> None:
    with pytest.raises(ValueError, match="2 audio heads for 4 processes"):
        check_heads(CONFIG, 4)
