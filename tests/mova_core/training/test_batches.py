from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_training import tiny_config

from mova_core.config import Config
from mova_core.training.batches import Batches
from mova_core.training.phase import build_phase
from mova_core.workspace import Workspace


def batches(
    config: Config, workspace: Workspace, rank: int = 0, num_ranks: int = 1, phase: str = "joint1"
) -> Batches[Any]:
    return build_phase(config, workspace, phase, rank, num_ranks).batches


def joined(parts: list[Any], name: str) -> torch.Tensor:
    return torch.cat([getattr(part, name) for part in parts])


NAMES = ("video", "audio", "text", "video_noise", "audio_noise", "video_sigma", "audio_sigma", "condition", "bridge")


def test_a_batch_is_the_same_however_it_is_split(config: Config, start: Workspace) -> None:
    whole = list(batches(config, start).training(3, "low_noise", 4))
    split = [part for rank in (0, 1) for part in batches(config, start, rank, 2).training(3, "low_noise", 1)]
    assert len(split) == 4
    for name in NAMES:
        assert torch.equal(joined(whole, name), joined(split, name)), name


def test_dropout_hits_its_share_and_nothing_else(config: Config, start: Workspace) -> None:
    dropped = tiny_config(**{"train.phases.joint1": {"text_dropout": 0.3, "bridge_dropout": 0.2, "batch_size": 1000}})
    kept = tiny_config(**{"train.phases.joint1": {"text_dropout": 0.0, "bridge_dropout": 0.0, "batch_size": 1000}})
    with_dropout, without = (next(batches(one, start).training(0, "high_noise", 1000)) for one in (dropped, kept))
    null_text = batches(config, start).null_text
    without_text = (with_dropout.text == null_text).all(dim=(1, 2))
    # Four standard deviations of a binomial share of 1000.
    assert without_text.double().mean().item() == pytest.approx(0.3, abs=0.06)
    assert (~with_dropout.bridge).double().mean().item() == pytest.approx(0.2, abs=0.05)
    assert torch.equal(with_dropout.text[~without_text], without.text[~without_text])
    assert torch.equal(with_dropout.video_noise, without.video_noise)
    assert without.bridge.all()


def test_the_expert_of_the_step_gets_its_side_of_the_levels_and_sound_gets_all(start: Workspace) -> None:
    config = tiny_config(**{"train.phases.joint1": {"batch_size": 500}, "model.boundary_ratio": 0.5})
    made = batches(config, start)
    high, low = (next(made.training(step, expert, 500)) for step, expert in ((0, "high_noise"), (1, "low_noise")))
    assert high.video_sigma.min() >= 0.5
    assert low.video_sigma.max() < 0.5
    for batch in (high, low):
        assert batch.audio_sigma.min() < 0.1
        assert batch.audio_sigma.max() > 0.9


def test_validation_is_fixed_complete_and_without_dropout(config: Config, start: Workspace) -> None:
    made = batches(config, start)
    first, again = (list(made.validation(5, 4)) for _ in range(2))
    for (one, _), (other, _) in zip(first, again, strict=True):
        assert torch.equal(one.video_noise, other.video_noise)
        assert one.bridge.all()
    assert sum(weights.sum().item() for _, weights in first) == 2  # every sixth of twelve clips is held out
    for batch, _ in first:
        on_own_side = (batch.video_sigma >= config.model.boundary_ratio) == (batch.expert == "high_noise")
        assert on_own_side.all()


def test_processes_validate_in_step_and_count_every_clip_once(start: Workspace) -> None:
    config = tiny_config(**{"model.boundary_ratio": 0.0})
    parts = [list(batches(config, start, rank, 3).validation(5, 4)) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    assert sum(weights.sum().item() for part in parts for _, weights in part) == 2


def test_levelled_sound_is_used_where_the_phase_says_so(start: Workspace) -> None:
    configs = [tiny_config(**{"train.phases.joint1.loudness_normalised": flag}) for flag in (False, True)]
    plain, levelled = (next(batches(each, start).training(0, "high_noise", 4)) for each in configs)
    assert torch.equal(plain.video, levelled.video)
    assert not torch.equal(plain.audio, levelled.audio)


def test_experts_that_train_together_get_all_levels_and_never_rest(start: Workspace) -> None:
    config = tiny_config(**{"train.phases.joint1": {"experts": "together", "batch_size": 500}})
    phase = build_phase(config, start, "joint1", 0, 1)
    assert [phase.idle(step) for step in (0, 1)] == [None, None]
    batch = next(phase.batches.training(1, phase.expert(1), 500))
    assert batch.video_sigma.min() < 0.1
    assert batch.video_sigma.max() > 0.9


def test_experts_that_trained_together_are_written_as_two_equal_ones(start: Workspace) -> None:
    config = tiny_config(**{"train.phases.joint1": {"experts": "together"}})
    phase = build_phase(config, start, "joint1", 0, 1)
    weights = phase.checkpoint_weights(phase.model.state_dict())
    assert phase.checkpoint_shape.num_experts == 2
    for name in [name for name in weights if name.startswith("video_dit.")]:
        assert torch.equal(weights[name], weights[name.replace("video_dit.", "video_dit_2.", 1)])
