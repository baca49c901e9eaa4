from __future__ import annotations

import pytest
from tiny_training import tiny_config

from mova_core.config.training import JointPhaseConfig
from mova_core.training.schedule import ema_decay, expert_of_step, rate_factor


def phase_of(**settings: int) -> JointPhaseConfig:
    return tiny_config(**{"train.phases.joint1": settings}).train.phases.joint1


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    phase = phase_of(steps=10, warmup_steps=3, decay_steps=4)
    factors = [rate_factor(phase, step) for step in range(11)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[3:6] == [1.0] * 3
    assert factors[6:] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])


def test_without_rise_or_fall_the_rate_is_constant() -> None:
    phase = phase_of(steps=3, warmup_steps=0, decay_steps=0)
    assert [rate_factor(phase, step) for step in range(3)] == [1.0] * 3


def test_two_experts_take_turns_and_one_takes_all() -> None:
    assert [expert_of_step(step, 2) for step in range(4)] == ["high_noise", "low_noise"] * 2
    assert [expert_of_step(step, 1) for step in range(3)] == ["high_noise"] * 3


def test_averaged_weights_forget_their_start() -> None:
    kept = 1.0
    for step in range(100):
        kept *= ema_decay(0.995, step)
    assert kept < 1e-3
    assert ema_decay(0.995, 10_000) == 0.995
