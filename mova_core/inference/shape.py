"""Whether a checkpoint has the shape that params.yaml describes: after an edit of `model`, the older weights do not.

Sampling reads the shape from the checkpoint, so without this an edit would change nothing and say nothing. Loads no
torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mova_core.config import Config
from mova_core.errors import UserError

COMPONENTS = ("video_dit", "audio_dit", "dual_tower_bridge")
SET_BY_THE_PHASE = ("spatial_rope_scale",)


def check_shape(config: Config, checkpoint: Path, phase: str) -> None:
    """Compares what the checkpoint states of itself with the section `model`; what it does not state is passed over.

    Raises
    ------
    UserError : if an entry differs.
    """
    for name, wanted, found in _differences(config, checkpoint):
        raise UserError(
            f"{name} is {found} in {checkpoint} and {wanted} in params.yaml",
            expected="a checkpoint of the model that params.yaml describes",
            remedy=f"run `mova train --phase {phase}` again (and the phases before it), or set model.{name} back",
        )


def _differences(config: Config, checkpoint: Path) -> Iterator[tuple[str, Any, Any]]:
    index = _entries(checkpoint / "model_index.json")
    if index.get("boundary_ratio", config.model.boundary_ratio) != config.model.boundary_ratio:
        yield "boundary_ratio", config.model.boundary_ratio, index["boundary_ratio"]
    num_experts = 2 if (index.get("video_dit_2") or [None])[0] else 1
    if index and num_experts != config.model.num_experts:
        yield "num_experts", config.model.num_experts, num_experts
    for component in COMPONENTS:
        stated = _entries(checkpoint / component / "config.json")
        for key, value in getattr(config.model, component).model_dump(mode="json").items():
            if key not in SET_BY_THE_PHASE and stated.get(key, value) != value:
                yield f"{component}.{key}", value, stated[key]


def _entries(path: Path) -> dict[str, Any]:
    """The file's entries; none where it is missing or damaged, which loading the model says better."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
