"""What every test of the orchestration works on: a folder, a Dagster instance of its own, steps that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from tiny_lineage import StepFunction, writer

import mova_core.steps
from mova_core.config import preset_text
from mova_core.files import write_text
from mova_core.steps import Step
from orchestration.resources import LineageFolder


@pytest.fixture
def folder(tmp_path: Path) -> LineageFolder:
    """A workspace with the nano preset and nothing made yet."""
    root = tmp_path / "workspace"
    write_text(root / "params.yaml", preset_text("nano"))
    return LineageFolder(root=str(root))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster history that ends with the test."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tiny_steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, StepFunction]:
    """Replaces every step's function; a test puts its own into the returned table, by step name."""
    functions: dict[str, StepFunction] = {}

    def function_of(step: Step) -> StepFunction:
        return functions.get(step.name, writer(step))

    monkeypatch.setattr(mova_core.steps, "_function", function_of)
    return functions
