"""Held-out loss: known values, fixed draws, and the Bridge switched on and off over the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_release import tiny_model

from mova_core.data.shards import LatentStore
from mova_core.evaluation.losses import phase_loss
from mova_core.evaluation.results import PhaseLoss
from mova_core.models.dual_tower import DualTower
from mova_core.models.weights import save_model


def loss_of(model: DualTower, folder: Path, evaluated: Any, seed: int = 0, num_draws: int = 2) -> PhaseLoss:
    save_model(model, folder)
    return phase_loss(
        "joint2",
        folder,
        LatentStore(evaluated[1].latents),
        range(6),
        resolution=(32, 32),
        loudness_normalised=True,
        num_draws=num_draws,
        video_fps=24.0,
        seed=seed,
    )


def silenced(part: torch.nn.Module) -> None:
    for value in part.parameters():
        torch.nn.init.zeros_(value)


def test_a_model_that_says_nothing_is_off_by_the_target_s_power(evaluated: Any, tmp_path: Path) -> None:
    model = tiny_model()
    silenced(model)
    loss = loss_of(model, tmp_path, evaluated, num_draws=8)
    store = LatentStore(evaluated[1].latents)
    batch = store.batch(range(6), (32, 32), loudness_normalised=True)
    # The target is noise minus clean, so its power is one plus that of the clean latents; the given frame is left out.
    assert loss.bridge_on.video == pytest.approx(1 + batch.video[:, :, 1:].square().mean().item(), rel=0.03)
    assert loss.bridge_on.audio == pytest.approx(1 + batch.audio.square().mean().item(), rel=0.03)
    assert (loss.gain.video, loss.gain.audio) == (0.0, 0.0)


def test_a_silent_bridge_gains_nothing_and_a_loud_one_changes_both_losses(evaluated: Any, tmp_path: Path) -> None:
    model = tiny_model()
    loud = loss_of(model, tmp_path / "loud", evaluated)
    assert loud.gain.video != 0.0
    assert loud.gain.audio != 0.0
    assert loud.gain.video == pytest.approx(loud.bridge_off.video - loud.bridge_on.video)
    silenced(model.dual_tower_bridge)
    silent = loss_of(model, tmp_path / "silent", evaluated)
    assert silent.gain.video == pytest.approx(0.0, abs=1e-6)
    assert silent.bridge_off.video == pytest.approx(loud.bridge_off.video)


def test_draws_are_fixed_by_the_seed(evaluated: Any, tmp_path: Path) -> None:
    model = tiny_model()
    assert loss_of(model, tmp_path, evaluated, seed=3) == loss_of(model, tmp_path, evaluated, seed=3)
    assert loss_of(model, tmp_path, evaluated, seed=3) != loss_of(model, tmp_path, evaluated, seed=4)
