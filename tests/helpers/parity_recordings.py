"""The recordings of the released reference implementation: where they lie, how they are read, how numbers compare.

They lie in the folder that MOVA_PARITY_DIR names, by default ../shared/parity beside the repository. Its README
suggests the tolerances below. `rel_to_max` is max|a - b| / max|b|.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(os.environ.get("MOVA_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))
MANIFEST = FOLDER / "manifest.json"
CASES: list[dict[str, Any]] = json.loads(MANIFEST.read_text())["cases"] if MANIFEST.is_file() else []

MODULE_TOLERANCE = 1e-5
TABLE_TOLERANCE = 1e-12
SINGLE_TABLE_TOLERANCE = 1e-6
SCHEDULE_TOLERANCE = 1e-6
LATENT_TOLERANCE = 2e-5
MEDIA_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 2e-4
BFLOAT16_SLACK = 1.5
TEXT_ROWS = 512

Case = Mapping[str, Any]
Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")


def rel_to_max(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest number that is expected; over 1 where zeros are (sines at the start)."""
    wide = torch.complex128 if expected.is_complex() else torch.float64
    found, expected = found.detach().to(wide), expected.detach().to(wide)
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) / (largest or 1.0)


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str = "output") -> None:
    assert found.shape == expected.shape, f"{what} is {tuple(found.shape)}, recorded {tuple(expected.shape)}"
    off = rel_to_max(found, expected)
    assert off <= tolerance, f"{what} is off by {off:.2e} of the largest, allowed {tolerance:.2e}"


def assert_agrees(
    found: torch.Tensor, tensors: Tensors, name: str, tolerance: float = MODULE_TOLERANCE, what: str | None = None
) -> None:
    """Holds a result to the recorded `name`; in bfloat16, to the same numbers computed in float32.

    There, the result may be no farther from those than the reference's own bfloat16 was, times a slack. A result that
    was computed in more precision than the reference's is held to the same.
    """
    recorded = tensors[name]
    exact = tensors.get(f"{name}_fp32_math")
    if exact is None:
        assert_close(found, recorded, max(tolerance, one_step(recorded.dtype)), what or name)
    else:
        assert found.shape == recorded.shape, f"{name} is {tuple(found.shape)}, recorded {tuple(recorded.shape)}"
        off, allowed = rel_to_max(found, exact), BFLOAT16_SLACK * rel_to_max(recorded, exact)
        assert off <= allowed, f"{what or name} is off by {off:.2e} of its numbers in float32, allowed {allowed:.2e}"


def one_step(dtype: torch.dtype) -> float:
    """How far apart two roundings of one number may lie, relative to it: a whole step in less than float32, else 0."""
    return torch.finfo(dtype).eps if dtype in (torch.bfloat16, torch.float16) else 0.0


def looser(case: Case, tolerance: float) -> float:
    """`tolerance`, or what the case itself suggests where it is one number and allows more."""
    suggested = case.get("suggested_rel_to_max_tolerance")
    return max(tolerance, suggested) if isinstance(suggested, float) else tolerance


def as_complex(stored: torch.Tensor) -> torch.Tensor:
    # A copy: tensors mapped from a file may lie at addresses on which PyTorch's complex operators crash.
    return torch.view_as_complex(stored.clone())


def weights_of(tensors: Tensors, prefix: str = "weights.") -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def padded(text: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(text, (0, 0, 0, TEXT_ROWS - text.shape[1]))
