"""Parameter names and shapes are the release's, at full size.

The list lies in the folder that MOVA_REFERENCE_DIR names, by default ../shared/reference beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mova_core.models.audio_tower import AudioTower, AudioTowerConfig
from mova_core.models.bridge import Bridge, BridgeConfig
from mova_core.models.layout import component_config
from mova_core.models.video_tower import VideoTower, VideoTowerConfig

FOLDER = Path(os.environ.get("MOVA_REFERENCE_DIR", Path(__file__).parents[2].parent / "shared" / "reference"))
LIST = FOLDER / "release_parameter_names.json"
RELEASE: dict[str, Any] = json.loads(LIST.read_text()) if LIST.is_file() else {}

pytestmark = pytest.mark.skipif(not RELEASE, reason=f"no list of parameters at {LIST} (set MOVA_REFERENCE_DIR)")


def shapes(module: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def component(name: str, config: dict[str, Any]) -> nn.Module:
    if name == "audio_dit":
        return AudioTower(component_config(AudioTowerConfig, config))
    if name == "dual_tower_bridge":
        return Bridge(component_config(BridgeConfig, config))
    return VideoTower(component_config(VideoTowerConfig, config))


@pytest.mark.parametrize("name", ["video_dit", "audio_dit", "dual_tower_bridge"])
def test_full_size_component_has_the_releases_parameters(name: str) -> None:
    entry = RELEASE["full_size"][name]
    with torch.device("meta"):
        module = component(name, entry["config"])
    assert shapes(module) == entry["state_dict"]
    assert sum(parameter.numel() for parameter in module.parameters()) == entry["parameters"]


def test_pooled_bridge_with_a_learned_scale_has_the_releases_parameters() -> None:
    expected = RELEASE["tiny"]["bridge_pooled_adaln_trainable_scale_variant"]["state_dict"]
    config = {
        "visual_layers": len({name.split(".")[1] for name in expected if "to_video" in name}),
        "audio_layers": len({name.split(".")[1] for name in expected if "to_audio" in name}),
        "visual_hidden_dim": 24,
        "audio_hidden_dim": 24,
        "audio_fps": 50.0,
        "head_dim": 12,
        "pooled_adaln": True,
        "trainable_condition_scale": True,
    }
    with torch.device("meta"):
        bridge = Bridge(component_config(BridgeConfig, config))
    assert shapes(bridge) == expected
