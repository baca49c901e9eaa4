"""What must stand before anything is imported, and who runs which tests where several processes do.

Kernels under test run in Triton's interpreter on the CPU, unless the caller asked for a GPU (TRITON_INTERPRET=0). The
variable must stand before anything imports Triton, whose own functions are made for one or the other then; so it is set
here, where pytest begins, and not beside the kernels' tests.

Of several workers each computes in one thread, as does what it starts: threads of one would wait for cores that another
holds, and the tests' tensors are too small to gain by two.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from work_units import WorkUnits
    from xdist.remote import Producer

os.environ.setdefault("TRITON_INTERPRET", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WorkUnits | None:
    """For `--dist loadfile`: files that share something costly stay together too."""
    if config.getoption("dist") != "loadfile":
        return None
    from work_units import WorkUnits

    return WorkUnits(config, log)
