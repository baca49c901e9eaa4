"""The one error a person is meant to read.

Whatever a user can cause and mend (a bad key, a missing folder, a full disk) is raised as `UserError`; the command line
prints it as one line and exits with code 2. Everything else is a defect and keeps its traceback.
"""

from __future__ import annotations


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
