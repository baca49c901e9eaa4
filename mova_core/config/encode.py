"""Settings of `encode`."""

from __future__ import annotations

from mova_core.config.base import Section


class EncodeConfig(Section):
    """Codecs, text encoder, and the cached latents' layout."""
