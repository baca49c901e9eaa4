"""First weights for training from scratch."""

from __future__ import annotations

import torch
from torch import nn

from mova_core.models.bridge import Bridge
from mova_core.models.dual_tower import DualTower
from mova_core.models.frame_pooling import AdaptiveNorm, FramePooling
from mova_core.models.layers import RMSNorm
from mova_core.models.tower import Tower

GATES = (2, 5)
"""Which of a block's six modulations are gates."""
TIME_STD = 0.02


def initialise(model: DualTower, generator: torch.Generator) -> None:
    """Fills every parameter; equal generators give equal weights.

    Matrices are Glorot-uniform, biases zero and norms neutral. A block starts as a plain transformer layer (gates 1,
    shifts and scales 0, hardly a word from the time embedding) and a head starts at zero, so that the first velocity is
    zero: both kept training from scratch stable at the learning rates that a nano model needs. The Bridge starts random
    as in the report. Both experts start equal, since at first they are one model.
    """
    for tower in (model.video_dit, model.audio_dit):
        _matrices_and_norms(tower, generator)
        _towers_own(tower, generator)
    _matrices_and_norms(model.dual_tower_bridge, generator)
    _bridges_own(model.dual_tower_bridge, generator)
    if model.video_dit_2 is not None:
        model.video_dit_2.load_state_dict(model.video_dit.state_dict())


@torch.no_grad()
def _matrices_and_norms(module: nn.Module, generator: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv3d):
            nn.init.xavier_uniform_(layer.weight.view(layer.weight.shape[0], -1), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.MultiheadAttention):
            nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
            layer.in_proj_bias.zero_()
        elif isinstance(layer, RMSNorm | nn.LayerNorm):
            for name, parameter in layer.named_parameters():
                parameter.fill_(1.0 if name == "weight" else 0.0)


@torch.no_grad()
def _towers_own(tower: Tower, generator: torch.Generator) -> None:
    nn.init.normal_(tower.time_projection.get_parameter("1.weight"), std=TIME_STD, generator=generator)
    for block in tower.blocks:
        modulation = block.get_parameter("modulation")
        modulation.zero_()
        modulation[:, GATES] = 1.0
    tower.head.modulation.zero_()
    tower.head.head.weight.zero_()


@torch.no_grad()
def _bridges_own(bridge: Bridge, generator: torch.Generator) -> None:
    for layer in bridge.modules():
        if isinstance(layer, FramePooling):
            nn.init.normal_(layer.probe, std=layer.probe.shape[-1] ** -0.5, generator=generator)
        elif isinstance(layer, AdaptiveNorm):
            layer.linear.weight.zero_()
    if bridge.condition_scale is not None:
        bridge.condition_scale.fill_(1.0)
