"""The model's shape. Field names follow the release's component configurations."""

from __future__ import annotations

from mova_core.config.base import Section


class ModelConfig(Section):
    """Video tower (two experts), audio tower, Bridge."""
