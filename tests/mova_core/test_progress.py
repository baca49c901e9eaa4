"""Progress that suits its reader, without touching what is worked on."""

from __future__ import annotations

import pytest

from mova_core import progress


def test_a_log_gets_a_line_with_count_bar_and_rate_and_the_items_pass_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress.track(["a", "b"], "curate")) == ["a", "b"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("curate: 2/2 [########################] in 0 s (")


def test_a_slow_loop_says_how_long_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 11.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    list(progress.track(range(3), "train", total=3))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train: 1/3 [########................] in 11 s (0.1/s, 22 s left)",
        "train: 3/3 [########################] in 14 s (0.2/s)",
    ]


def test_an_unknown_total_counts_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(progress.track(iter([1, 2, 3]), "scan")) == 6
    assert capsys.readouterr().err.startswith("scan: 3 in 0 s")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    assert list(progress.track(range(4), "encode")) == [0, 1, 2, 3]
    assert "100%" in capsys.readouterr().err


def test_work_that_calls_back_is_counted_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.ticking("denoise", 3) as tick:
        for _ in range(3):
            tick()
    assert capsys.readouterr().err.startswith("denoise: 3/3 [########################]")


def test_work_that_stops_early_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.ticking("denoise", 3) as tick:
        tick()
    assert "3/3" not in capsys.readouterr().err
