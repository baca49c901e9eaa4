"""What a step's number decides: its learning rate, its expert, and how far the averaged weights follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mova_core.config.training import PhaseConfig

if TYPE_CHECKING:
    from mova_core.models.dual_tower import Expert

EMA_HEAD_START = 10
"""The averaged weights forget their start this fast: the decay of step s is at most (1 + s) / (10 + s)."""


def rate_factor(phase: PhaseConfig, step: int) -> float:
    """What multiplies the learning rates at `step` (from 0): a linear rise, a constant, a linear fall that would reach
    zero one step after the last."""
    rise = (step + 1) / (phase.warmup_steps + 1)
    fall = (phase.steps - step) / (phase.decay_steps + 1)
    return min(1.0, rise, fall)


def expert_of_step(step: int, num_experts: int) -> Expert:
    """Experts alternate by optimizer step, the high-noise one first (report section 3.3); a single one takes all."""
    return "low_noise" if num_experts == 2 and step % 2 else "high_noise"


def ema_decay(limit: float, step: int) -> float:
    """The averaged weights' decay at `step` (from 0)."""
    return min(limit, (1 + step) / (EMA_HEAD_START + step))
