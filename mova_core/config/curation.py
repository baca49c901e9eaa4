"""Settings of `corpus`, `ingest`, `curate` and `caption`."""

from __future__ import annotations

from mova_core.config.base import Section


class CorpusConfig(Section):
    """The rendered, labelled demo corpus."""


class IngestConfig(Section):
    """Which raw files are taken."""


class CurateConfig(Section):
    """Cutting, scoring and gating."""


class CaptionConfig(Section):
    """Who writes the captions."""
