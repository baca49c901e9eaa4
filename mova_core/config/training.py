"""Settings of `train`: the engine's, and one block a phase."""

from __future__ import annotations

from mova_core.config.base import Section


class TrainConfig(Section):
    """Optimizer, engine and phases."""
