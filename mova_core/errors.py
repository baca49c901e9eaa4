"""The one error a person is meant to read.

Whatever a user can cause and mend (a bad key, a missing folder, a full disk) is raised as `UserError`; the command line
prints it as one line and exits with code 2. What a full or closed disk makes libraries raise becomes one here, in one
place. Everything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re


class UserError(Exception):
    """A mistake with a remedy.

    Parameters
    ----------
    found : what was met, with the value or path that was found.
    expected : what would have been right.
    remedy : the command or edit that mends it.
    """

    def __init__(self, found: str, *, expected: str, remedy: str) -> None:
        self.found = " ".join(found.split())
        self.expected = " ".join(expected.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{self.found}; expected {self.expected}; {self.remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """So that it reaches the user from a worker process."""
        return _rebuilt, (self.found, self.expected, self.remedy)


def _rebuilt(found: str, expected: str, remedy: str) -> UserError:
    return UserError(found, expected=expected, remedy=remedy)


FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
# Libraries that raise another kind of error quote the system's number: safetensors, shutil, pyarrow.
QUOTED_NUMBER = re.compile(r"(?:os error |\[Errno |\[errno )(\d+)")
QUOTED_WORDS = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    os.strerror(errno.ENOSPC): errno.ENOSPC,
    os.strerror(errno.EDQUOT): errno.EDQUOT,
}


def as_user_error(error: BaseException) -> UserError | None:
    """The remedy, where `error` says that a user can mend something about the disk; None for a defect."""
    if isinstance(error, UserError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    number = _quoted_number(str(error)) if number is None else number
    where = getattr(error, "filename", None) or (os.strerror(number) if number else "")
    if number in FULL:
        return UserError(
            f"the disk is full ({where})",
            expected="room for this step's output",
            remedy="free some and run the same command again, it goes on where it stopped",
        )
    if number == errno.EFBIG:
        return UserError(
            f"a file may not grow that large here ({where})",
            expected="room for this step's output",
            remedy="raise `ulimit -f` and run the same command again, it goes on where it stopped",
        )
    if number in CLOSED:
        return UserError(
            f"no access to {where} ({os.strerror(number)})",
            expected="a file or folder that you may read and write",
            remedy="change its permissions or its owner, or name another folder with --root",
        )
    if number in IN_THE_WAY:
        return UserError(
            f"{where} is in the way ({os.strerror(number)})",
            expected="a folder where a folder belongs, and a file where a file does",
            remedy="move it elsewhere and run the same command again",
        )
    if number == errno.EIO:
        return UserError(
            f"the disk does not answer ({where})",
            expected="a disk that reads and writes",
            remedy="look at the system's log, then run the same command again, it goes on where it stopped",
        )
    return None


def _quoted_number(text: str) -> int | None:
    match = QUOTED_NUMBER.search(text)
    if match:
        return int(match[1])
    return next((number for words, number in QUOTED_WORDS.items() if words in text), None)
