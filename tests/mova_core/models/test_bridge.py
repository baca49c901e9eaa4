"""The Bridge alone: where it acts, what scales it, what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mova_core.models.bridge import Bridge, BridgeAttention, interaction_layers
from mova_core.models.dual_tower import DualTower
from mova_core.models.frame_pooling import pooling_heads

GRID = (2, 2, 3)


@pytest.fixture
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 12, 24, generator=generator), torch.randn(2, 9, 12, generator=generator)


def exchange(
    bridge: Bridge, tokens: tuple[torch.Tensor, torch.Tensor], layer: int = 0, **scales: float
) -> tuple[torch.Tensor, torch.Tensor]:
    video, audio = tokens
    rotations = bridge.rotations(GRID, audio.shape[1], 24.0, like=video)
    changed: tuple[torch.Tensor, torch.Tensor] = bridge(layer, video, audio, rotations, GRID[0], **scales)
    return changed


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("full", tuple(range(10))),
        ("shallow_focus", (0, 1, 2)),
        ("distributed", (0, 3, 6, 9)),
        ("progressive", (0, 1, 2, 3, 4, 5, 6, 7, 8)),
        ("custom", (0, 2, 4, 6, 8)),
    ],
)
def test_strategies_choose_among_the_shared_layers(strategy: str, expected: tuple[int, ...]) -> None:
    assert interaction_layers(strategy, 11, 10) == expected  # type: ignore[arg-type]  # one of the strategies


def test_layers_without_interaction_change_nothing(
    make_model: Callable[..., DualTower], tokens: tuple[torch.Tensor, torch.Tensor]
) -> None:
    bridge = make_model().dual_tower_bridge
    assert bridge.layers == (0, 1)
    video, audio = exchange(bridge, tokens, layer=2)
    assert video is tokens[0]
    assert audio is tokens[1]


def test_what_is_added_is_proportional_to_the_scale_of_its_direction(
    make_model: Callable[..., DualTower], tokens: tuple[torch.Tensor, torch.Tensor]
) -> None:
    bridge = make_model().dual_tower_bridge
    full = exchange(bridge, tokens)
    half = exchange(bridge, tokens, audio_to_video_scale=0.5, video_to_audio_scale=0.0)
    torch.testing.assert_close(half[0] - tokens[0], (full[0] - tokens[0]) / 2, rtol=1e-4, atol=1e-5)
    assert torch.equal(half[1], tokens[1])
    assert not torch.equal(full[1], tokens[1])


def test_a_learned_scale_is_used_unless_another_is_given(
    make_model: Callable[..., DualTower], tokens: tuple[torch.Tensor, torch.Tensor]
) -> None:
    bridge = make_model(bridge_trainable_condition_scale=True).dual_tower_bridge
    assert bridge.condition_scale is not None
    with torch.no_grad():
        bridge.condition_scale.fill_(0.25)
    own, given = (
        exchange(bridge, tokens),
        exchange(bridge, tokens, audio_to_video_scale=0.25, video_to_audio_scale=0.25),
    )
    assert torch.equal(own[0], given[0])
    own[0].sum().backward()
    assert bridge.condition_scale.grad is not None
    assert bridge.condition_scale.grad.item() != 0


def test_an_event_moved_in_time_is_sought_elsewhere(
    make_model: Callable[..., DualTower], tokens: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """With RoPE, exchanging two video frames changes what audio receives; without it, audio cannot tell."""
    for rope in (True, False):
        bridge = make_model(bridge_apply_cross_rope=rope).dual_tower_bridge
        video, audio = tokens
        swapped = video.view(2, 2, 6, 24).flip(1).reshape(2, 12, 24)
        same = torch.allclose(exchange(bridge, tokens)[1], exchange(bridge, (swapped, audio))[1], atol=1e-5)
        assert same != rope


def test_pooling_keeps_the_asking_heads_where_they_divide_the_pooled_width() -> None:
    assert pooling_heads(48, 72, head_dim=24) == 2
    assert pooling_heads(1536, 5120, head_dim=128) == 40  # 12 heads, the release's choice, do not divide 5120


def test_widths_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="25 wide and head_dim is 12"):
        BridgeAttention(25, 12, 12)
