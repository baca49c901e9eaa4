"""Errors that a person reads."""

from __future__ import annotations

import errno
import pickle
import shutil
import sqlite3

import pytest

from mova_core.data.media import MediaError
from mova_core.errors import UserError, as_user_error


def test_an_error_is_one_line_of_three_parts() -> None:
    error = UserError("found\na  tab", expected="one\nline", remedy="join\nthem")
    assert str(error) == "found a tab; expected one line; join them"


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "clips/a.mp4"),
            "the disk is full (clips/a.mp4)",
            "free some",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full (Disk quota exceeded)", "free some"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full", "free some"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]), "the disk is full", "free some"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full", "free some"),
        (OSError(errno.EFBIG, "File too large", "b"), "a file may not grow that large here (b)", "ulimit -f"),
        (PermissionError(errno.EACCES, "Permission denied", "data"), "no access to data", "permissions"),
        (OSError(errno.EROFS, "Read-only file system", "data"), "no access to data (Read-only", "--root"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "data"), "data is in the way", "move it"),
        (OSError(errno.EIO, "Input/output error", "data"), "the disk does not answer (data)", "system's log"),
    ],
)
def test_what_a_disk_refuses_has_a_remedy_however_a_library_says_it(error: Exception, found: str, remedy: str) -> None:
    known = as_user_error(error)
    assert known is not None
    assert known.found.startswith(found)
    assert remedy in known.remedy


def test_a_defect_is_no_mistake_of_the_user() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "No such file", "x"), ValueError("28"), KeyError("a")):
        assert as_user_error(error) is None


def test_a_users_mistake_stays_what_it_is() -> None:
    error = UserError("this", expected="that", remedy="do so")
    assert as_user_error(error) is error


def test_errors_that_a_person_reads_survive_the_way_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(UserError("this", expected="that", remedy="do so")))
    assert isinstance(error, UserError)
    assert str(error) == "this; expected that; do so"
    media = pickle.loads(pickle.dumps(MediaError("corrupt", "half of it")))
    assert isinstance(media, MediaError)
    assert (media.reason, media.detail) == ("corrupt", "half of it")
