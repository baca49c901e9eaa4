"""From the nano preset to a model."""

from __future__ import annotations

import pytest
import torch
import yaml

from mova_core.config import preset_text
from mova_core.config.model import ModelConfig
from mova_core.errors import UserError
from mova_core.models.build import build_model, resolve_compute_dtype
from mova_core.models.dual_tower import DualTower

FACTS = {"video_latent_channels": 16, "audio_latent_channels": 48, "text_dim": 384}


def nano(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**yaml.safe_load(preset_text("nano"))["model"], **changes})


def build(section: ModelConfig) -> DualTower:
    return build_model(section, audio_latent_rate_hz=50.0, **FACTS)


def test_nano_takes_channels_and_rates_from_the_codecs() -> None:
    model = build(nano())
    assert (model.config.video.in_dim, model.config.video.out_dim) == (36, 16)
    assert (model.config.audio.in_dim, model.config.audio.out_dim) == (48, 48)
    assert model.config.bridge.audio_fps == 50.0
    assert model.dual_tower_bridge.layers == (0, 1, 2)
    assert 1_000_000 < sum(p.numel() for p in model.parameters()) < 3_000_000


def test_a_forced_backend_that_cannot_run_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # tests of `kernels` in the same process ask for it
    with pytest.raises(UserError, match=r"set model\.kernels to auto or reference"):
        build(nano(kernels="triton"))


@pytest.mark.parametrize(("hardware", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_precision_takes_bfloat16_only_in_hardware(
    monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_compute_dtype("auto") == expected
    assert resolve_compute_dtype("bfloat16") == torch.bfloat16
    assert resolve_compute_dtype("float32") is None


@pytest.mark.parametrize(
    ("component", "field", "value", "message"),
    [
        ("video_dit", "num_heads", 5, "expected a multiple"),
        ("video_dit", "num_heads", 6, "head_dim .* is 16, expected one of"),
        ("audio_dit", "num_heads", 72, "heads of even width"),
        ("dual_tower_bridge", "head_dim", 10, "expected a multiple of the Bridge's head_dim"),
    ],
)
def test_shapes_that_cannot_work_are_refused_by_the_configuration(
    component: str, field: str, value: int, message: str
) -> None:
    section = yaml.safe_load(preset_text("nano"))["model"][component]
    with pytest.raises(ValueError, match=message):
        nano(**{component: {**section, field: value}})
