"""The one error a person is meant to read.

Whatever a user can cause and mend (a bad key, a missing folder, a full disk) is raised as `UserError`; the command line
prints it as one line and exits with code 2. Everything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import errno


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


def disk_full_as_user_error(error: OSError) -> UserError | None:
    """The remedy, where `error` says that the disk or the quota is full; None for any other."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return UserError(
        f"the disk is full ({error.filename or error.strerror})",
        expected="room for this step's output",
        remedy="free some and run the same command again, it goes on where it stopped",
    )
