"""A journal survives being cut anywhere, and ends in bytes that depend on its content alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova_core.curation.journal import Journal


@pytest.mark.parametrize("lost", [1, 5, 30])
def test_a_line_cut_short_is_dropped_and_the_next_one_is_whole(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.add("first", {"seconds": 1.5})
    journal.add("second", ["a", "line\nbreak"])
    path.write_bytes(path.read_bytes()[:-lost])

    again = Journal(path)
    assert again.entries == {"first": {"seconds": 1.5}}
    again.add("third", 3)
    assert Journal(path).entries == {"first": {"seconds": 1.5}, "third": 3}


def test_settling_forgets_what_is_gone_and_orders_the_rest(tmp_path: Path) -> None:
    one, other = Journal(tmp_path / "one"), Journal(tmp_path / "other")
    for key in ("b", "a", "gone"):
        one.add(key, key.upper())
    other.add("a", "old")
    for key in ("a", "b"):
        other.add(key, key.upper())
    one.settle(["a", "b"])
    other.settle(["b", "a", "a"])
    assert one.path.read_bytes() == other.path.read_bytes()
    assert Journal(one.path).entries == {"a": "A", "b": "B"}


def test_a_damaged_line_costs_its_own_work_and_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for key in ("first", "second", "third"):
        journal.add(key, key.upper())
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + b"\xff\x00gar{bage\n" + b"[]\n" + lines[2])
    assert Journal(journal.path).entries == {"first": "FIRST", "third": "THIRD"}
