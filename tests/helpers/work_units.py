"""Which tests go to one worker process together when pytest-xdist runs several (`make test`)."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = (
    "tests/mova_core/codecs",
    "tests/mova_core/evaluation",
    "tests/mova_core/release",
    "tests/mova_core/training",
)
"""Folders whose files share something that takes seconds to make: fitted codecs, an evaluated or released workspace."""


class WorkUnits(LoadScopeScheduling):
    """Hands out a file at a time, and a folder of `TOGETHER` as a whole, in the order of collection.

    That order begins with the longest unit, tests/e2e, and ends with the shortest, so no worker is left alone for long;
    the order by number of tests, which xdist would take, puts the lineage of six tests last.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """The folder or the file that a test of this id is handed out with."""
    path = PurePosixPath(nodeid.split("::", 1)[0])
    return next((folder for folder in TOGETHER if path.is_relative_to(folder)), str(path))
