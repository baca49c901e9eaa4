"""Errors that a person reads."""

from __future__ import annotations

import errno

from mova_core.errors import UserError, disk_full_as_user_error


def test_an_error_is_one_line_of_three_parts() -> None:
    error = UserError("found\na  tab", expected="one\nline", remedy="join\nthem")
    assert str(error) == "found a tab; expected one line; join them"


def test_a_full_disk_gets_its_remedy_and_nothing_else_does() -> None:
    full = disk_full_as_user_error(OSError(errno.ENOSPC, "No space left on device", "clips/a.mp4"))
    assert full is not None
    assert "clips/a.mp4" in str(full)
    assert "free some" in full.remedy
    assert disk_full_as_user_error(PermissionError(errno.EACCES, "Permission denied")) is None
