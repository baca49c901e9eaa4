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
from transformers import UMT5Config, UMT5EncoderModel

from mova_core.codecs.dac_audio import dac_config, weight_norm_shapes
from mova_core.codecs.dac_layers import Dac
from mova_core.data.weights import shapes_of
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
    if name == "audio_vae":
        return Dac(dac_config(config))
    if name == "video_vae":
        return diffusers_vae(config)
    if name == "text_encoder":
        return UMT5EncoderModel(UMT5Config(**config))
    if name == "audio_dit":
        return AudioTower(component_config(AudioTowerConfig, config))
    if name == "dual_tower_bridge":
        return Bridge(component_config(BridgeConfig, config))
    return VideoTower(component_config(VideoTowerConfig, config))


def diffusers_vae(config: dict[str, Any]) -> nn.Module:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(**config)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
@pytest.mark.parametrize(
    "name", ["video_dit", "audio_dit", "dual_tower_bridge", "video_vae", "audio_vae", "text_encoder"]
)
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
        "interaction_strategy": "full",
        "pooled_adaln": True,
        "trainable_condition_scale": True,
    }
    with torch.device("meta"):
        bridge = Bridge(component_config(BridgeConfig, config))
    assert shapes(bridge) == expected


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("audio_vae_weight_norm_variant", {"use_weight_norm": True}),
        ("audio_vae_discrete_variant", {"continuous": False}),
    ],
)
def test_variants_of_the_audio_codec_are_stored_under_the_releases_names(
    variant: str, changes: dict[str, bool]
) -> None:
    config = RELEASE["tiny"]["audio_vae"]["config"] | changes
    with torch.device("meta"):
        model = Dac(dac_config(config))
    found = weight_norm_shapes(model) if config["use_weight_norm"] else shapes_of(model)
    assert {name: list(shape) for name, shape in found.items()} == RELEASE["tiny"][variant]["state_dict"]
