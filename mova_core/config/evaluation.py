"""Settings of `evaluate`."""

from __future__ import annotations

from mova_core.config.base import Section


class EvaluateConfig(Section):
    """Which measures are taken, on how many clips."""
