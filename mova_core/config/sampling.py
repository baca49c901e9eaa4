"""Settings of `sample`."""

from __future__ import annotations

from mova_core.config.base import Section


class SampleConfig(Section):
    """Solver, guidance and which sets are sampled."""
