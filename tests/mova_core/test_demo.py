"""`mova demo` hands over to the orchestration's process, or says what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mova_core.cli import main
from mova_core.demo import run_demo


def test_without_dagster_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dagster" else find(name))
    assert main(["--root", str(tmp_path), "demo"]) == 2
    assert "mova-lineage[orchestration]" in capsys.readouterr().err


def test_a_configuration_that_does_not_read_ends_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text("seed: [")
    assert run_demo(tmp_path) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "is not YAML" in error
    assert not (tmp_path / ".dagster").exists()
