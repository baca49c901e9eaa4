"""`torch.compile` on the layers that repeat: one graph a kind of layer, whatever surrounds it stays as it is.

Each layer is compiled whole or not at all: a graph break would be an error, not a silent return to eager code.
"""

from __future__ import annotations

import os
import shutil
import sys

import torch

from mova_core.errors import UserError
from mova_core.models.dual_tower import DualTower
from mova_core.models.tower import Block

VARIANTS = 64
"""Of one layer's graph: towers, text lengths, batches of guidance branches. PyTorch's own limit is 8."""


def compile_layers(model: DualTower, device: torch.device) -> int:
    """Makes the towers' blocks and the Bridge's conditioners compile at their first run; returns how many there are.

    Weights, hooks and names stay as they are.

    Parameters
    ----------
    device : where the model will run.

    Raises
    ------
    UserError : if no compiler is there for the model's device.
    """
    check_compiler(device)
    torch._dynamo.config.recompile_limit = VARIANTS
    bridge, count = model.dual_tower_bridge, 0
    for tower in (model.video_dit, model.video_dit_2, model.audio_dit):
        for block in tower.blocks if tower is not None else ():
            # Not the module: its keys and values are kept outside of the graph, and memory modes hang hooks on it.
            assert isinstance(block, Block)
            block.layer = torch.compile(block.layer, fullgraph=True)  # type: ignore[method-assign]  # as intended
            count += 1
    for conditioners in (bridge.audio_to_video_conditioners, bridge.video_to_audio_conditioners):
        for conditioner in conditioners.values():
            conditioner.forward = torch.compile(conditioner.forward, fullgraph=True)
            count += 1
    return count


def check_compiler(device: torch.device) -> None:
    """Whether PyTorch finds what it compiles with.

    Raises
    ------
    UserError : if not.
    """
    if device.type == "cpu":
        wanted = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(wanted) is None:
            raise UserError(
                f"compiling was asked for and there is no {wanted}",
                expected="a C++ compiler",
                remedy="install one (apt install g++), or name it in CXX",
            )
