"""What training needs, against the models themselves and against this machine."""

from __future__ import annotations

import pytest
import torch

from mova_core.config import parse_config, preset_names, preset_text
from mova_core.errors import UserError
from mova_core.models.build import build_model
from mova_core.steps import PHASES
from mova_core.training import capacity
from mova_core.training.capacity import check_memory, free_memory_bytes, num_parameters, training_bytes

GIBIBYTE = 1 << 30


@pytest.mark.parametrize(("preset", "least_share"), [("nano", 0.7), ("mini", 0.9), ("mova-360p", 0.98)])
def test_it_counts_nearly_all_of_a_model_and_never_more(preset: str, least_share: float) -> None:
    config = parse_config(preset_text(preset), source=preset)
    with torch.device("meta"):
        model = build_model(
            config.model,
            video_latent_channels=16,
            audio_latent_channels=48,
            text_dim=384,
            audio_latent_rate_hz=50.0,
        )
    there = sum(parameter.numel() for parameter in model.parameters())
    assert least_share * there <= num_parameters(config.model) <= there


def test_the_nano_preset_fits_everywhere_and_the_released_sizes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "free_memory_bytes", lambda: 4 * GIBIBYTE)
    for phase in PHASES:
        check_memory(parse_config(preset_text("nano"), source="nano"), phase, num_processes=2, device_bytes=None)
        with pytest.raises(UserError, match=r"at least \d+ GiB here .* 4\.0 GiB of free memory;.*mova doctor"):
            check_memory(parse_config(preset_text("mova-360p"), "large"), phase, num_processes=2, device_bytes=None)


def test_enough_devices_share_what_one_cannot_hold() -> None:
    config = parse_config(preset_text("mova-360p"), source="large")
    check_memory(config, "joint3", num_processes=64, device_bytes=80 * GIBIBYTE)
    with pytest.raises(UserError, match=r"80\.0 GiB on this GPU"):
        check_memory(config, "joint3", num_processes=4, device_bytes=80 * GIBIBYTE)


def test_experts_that_train_together_count_once() -> None:
    config = parse_config(preset_text("nano"), source="nano")
    assert training_bytes(config, "joint1") < training_bytes(config, "joint2")


def test_this_machine_has_some_memory_free() -> None:
    assert 0 < free_memory_bytes() < 1 << 50


def test_every_preset_is_told_apart_by_what_it_needs() -> None:
    needs = [training_bytes(parse_config(preset_text(name), name), "joint3") for name in preset_names()]
    assert min(needs) < GIBIBYTE < 500 * GIBIBYTE < max(needs)
