"""A step's report survives its file and reads well in a terminal."""

from __future__ import annotations

from pathlib import Path

from mova_core.report import StageReport

REPORT = StageReport(
    step="curate",
    rows_in=10,
    rows_out=7,
    rejected={"silent": 2, "blurred": 1},
    metrics={"hours": 1.23456789},
    previews=("data/clips/demo/overview.png",),
    outputs=("data/clips/demo",),
    notes=("one source had no cut",),
).timed(3.14159)


def test_a_report_is_read_as_it_was_saved(tmp_path: Path) -> None:
    REPORT.save(tmp_path / "reports" / "curate.json")
    assert StageReport.load(tmp_path / "reports" / "curate.json") == REPORT


def test_the_summary_says_what_came_out_what_did_not_and_why() -> None:
    assert REPORT.summary() == ("curate: 7 rows in 3.1 s; 3 of 10 rejected (blurred 1, silent 2); hours 1.235")
