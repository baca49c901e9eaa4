"""Settings of `release`."""

from __future__ import annotations

from mova_core.config.base import Section


class ReleaseConfig(Section):
    """What the released folder is called and says of itself."""
