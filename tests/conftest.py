"""Kernels under test run in Triton's interpreter on the CPU, unless the caller asked for a GPU (TRITON_INTERPRET=0).

The variable must stand before anything imports Triton, whose own functions are made for one or the other then; so it
is set here, where pytest begins, and not beside the kernels' tests.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
