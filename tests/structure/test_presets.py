"""Presets hold together: the model that they name has the released size, and their phases fit what is encoded."""

from __future__ import annotations

import pytest
import torch

from mova_core.config import Config, parse_config, preset_names, preset_text
from mova_core.models.build import build_model
from mova_core.steps import PHASES

BILLION = 1e9


def config(name: str) -> Config:
    return parse_config(preset_text(name), source=name)


@pytest.mark.parametrize("name", ["mova-360p", "mova-720p"])
def test_the_large_presets_have_the_released_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        model = build_model(
            config(name).model,
            video_latent_channels=16,
            audio_latent_channels=128,
            text_dim=4096,
            audio_latent_rate_hz=50.0,
        )
    counts = {
        part: sum(parameter.numel() for parameter in module.parameters()) / BILLION
        for part, module in model.named_children()
    }
    assert counts["video_dit"] == pytest.approx(14.3, abs=0.1)
    assert counts["video_dit_2"] == pytest.approx(14.3, abs=0.1)
    assert counts["audio_dit"] == pytest.approx(1.4, abs=0.1)
    assert counts["dual_tower_bridge"] == pytest.approx(2.66, abs=0.01)


@pytest.mark.parametrize("name", preset_names())
def test_phases_and_samples_use_pictures_that_are_encoded(name: str) -> None:
    preset = config(name)
    encoded = set(preset.encode.resolutions)
    assert max(encoded) == (preset.media.height, preset.media.width)
    for phase in PHASES[1:]:
        settings = preset.train.phase(phase)
        assert (settings.height, settings.width) in encoded  # type: ignore[union-attr]  # a joint phase
    for entry in preset.sample.sets:
        settings = preset.train.phase(entry.phase)
        assert (entry.height, entry.width) == (settings.height, settings.width)  # type: ignore[union-attr]
    assert preset.release.sample_set in {entry.name for entry in preset.sample.sets}
    assert {(entry.phase, entry.bridge) for entry in preset.sample.sets} == {
        (phase, bridge) for phase in ("joint2", "joint3") for bridge in (True, False)
    }
