"""First weights: equal for equal seeds, silent at first, and able to learn."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mova_core.models.dual_tower import DualTower
from mova_core.models.initialise import initialise

Batch = dict[str, torch.Tensor]


def fresh(make_model: Callable[..., DualTower], seed: int, **changes: object) -> DualTower:
    model = make_model(**changes)
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def test_the_generator_decides_every_parameter(make_model: Callable[..., DualTower]) -> None:
    """Also of the pooled Bridge: nothing may stay at what construction left there."""
    changes = {"bridge_pooled_adaln": True, "bridge_trainable_condition_scale": True}
    first, again, other = (fresh(make_model, seed, **changes).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    constructed = make_model(**changes).state_dict()
    assert [name for name in first if torch.equal(first[name], constructed[name])] == []


def test_the_first_velocity_is_zero(make_model: Callable[..., DualTower], batch: Batch) -> None:
    for velocity in fresh(make_model, 0)(**batch, expert="low_noise", video_fps=24.0):
        assert not velocity.any()


def test_experts_start_equal(make_model: Callable[..., DualTower]) -> None:
    model = fresh(make_model, 0)
    assert model.video_dit_2 is not None
    high, low = model.video_dit.state_dict(), model.video_dit_2.state_dict()
    assert all(torch.equal(high[name], low[name]) for name in high)


def test_a_few_steps_fit_one_batch(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = fresh(make_model, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    targets = (batch["video_latents"] * 0.5, batch["audio_latents"] * 0.5)
    losses = []
    for _ in range(20):
        velocities = model(**batch, expert="high_noise", video_fps=24.0)
        loss = sum(((v - target) ** 2).mean() for v, target in zip(velocities, targets, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
