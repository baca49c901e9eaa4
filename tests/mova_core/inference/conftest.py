"""One tiny checkpoint for every test of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_release import tiny_checkpoint

from mova_core.inference.pipeline import MovaPipeline


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def pipeline(checkpoint: Path) -> MovaPipeline:
    return MovaPipeline.from_pretrained(checkpoint)
