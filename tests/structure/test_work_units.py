"""Tests that share something costly are run by one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from work_units import TOGETHER, unit_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", TOGETHER)
def test_a_folder_that_shares_stays_together(folder: str) -> None:
    assert 'scope="session"' in (ROOT / folder / "conftest.py").read_text(encoding="utf-8")
    files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("test_*.py")]
    assert len(files) > 1
    assert {unit_of(f"{file}::test_x[a::b/c]") for file in files} == {folder}


def test_other_files_go_one_by_one() -> None:
    assert unit_of("tests/structure/test_work_units.py::test_x[tests/mova_core/codecs]") == (
        "tests/structure/test_work_units.py"
    )
    assert unit_of("tests/mova_core/test_codecs.py::test_x") == "tests/mova_core/test_codecs.py"
