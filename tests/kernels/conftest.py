"""Kernels under test run in Triton's interpreter on the CPU, unless the caller asked for a GPU (TRITON_INTERPRET=0).

The variable must stand before a kernel is imported, so it is set when this file is collected.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
