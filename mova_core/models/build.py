"""From the configuration's `model` section and the codecs' facts to a model."""

from __future__ import annotations

from typing import Literal

import torch

from kernels.dispatch import OPERATORS, KernelUnavailable, choose
from mova_core.config.model import ModelConfig
from mova_core.errors import UserError
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import set_compute_dtype
from mova_core.models.video_tower import VideoTowerConfig

MASK_CHANNELS = 4
"""Channels of the condition that say which latent frame is given."""


def tower_config(
    section: ModelConfig,
    *,
    video_latent_channels: int,
    audio_latent_channels: int,
    text_dim: int,
    audio_latent_rate_hz: float,
) -> DualTowerConfig:
    """The joint model's shape; arguments as in `build_model`."""
    video, audio, bridge = section.video_dit, section.audio_dit, section.dual_tower_bridge
    return DualTowerConfig(
        video=VideoTowerConfig(
            in_dim=2 * video_latent_channels + MASK_CHANNELS,
            out_dim=video_latent_channels,
            text_dim=text_dim,
            **video.model_dump(),
        ),
        audio=AudioTowerConfig(
            in_dim=audio_latent_channels, out_dim=audio_latent_channels, text_dim=text_dim, **audio.model_dump()
        ),
        bridge=BridgeConfig(
            visual_layers=video.num_layers,
            audio_layers=audio.num_layers,
            visual_hidden_dim=video.dim,
            audio_hidden_dim=audio.dim,
            audio_fps=audio_latent_rate_hz,
            **bridge.model_dump(),
        ),
        num_experts=section.num_experts,
        boundary_ratio=section.boundary_ratio,
    )


def build_model(
    section: ModelConfig,
    *,
    video_latent_channels: int,
    audio_latent_channels: int,
    text_dim: int,
    audio_latent_rate_hz: float,
) -> DualTower:
    """A joint model: call `mova_core.models.initialise.initialise` to train it from scratch, or load weights into it.

    Parameters
    ----------
    section : the configuration's `model` section.
    video_latent_channels, audio_latent_channels, text_dim, audio_latent_rate_hz : facts of the codecs.

    Raises
    ------
    UserError : if the section forces a kernel backend that cannot run here.
    """
    config = tower_config(
        section,
        video_latent_channels=video_latent_channels,
        audio_latent_channels=audio_latent_channels,
        text_dim=text_dim,
        audio_latent_rate_hz=audio_latent_rate_hz,
    )
    check_kernels(section.kernels)
    model = DualTower(config, section.kernels)
    set_compute_dtype(model, resolve_compute_dtype(section.compute_dtype))
    return model


def resolve_compute_dtype(request: Literal["auto", "float32", "bfloat16"]) -> torch.dtype | None:
    """The dtype of matrix products; None leaves it to the parameters.

    `auto` takes bfloat16 on a GPU and on processors that multiply it in hardware. Elsewhere it is emulated, and was
    measured ten times slower than float32.
    """
    if request == "float32":
        return None
    if request == "bfloat16" or torch.cuda.is_available():
        return torch.bfloat16
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if in_hardware else None


def check_kernels(request: Literal["auto", "reference", "triton"]) -> None:
    """Tells at once whether a forced kernel backend can run on this machine.

    Raises
    ------
    UserError : if it cannot.
    """
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    for operator in OPERATORS:
        try:
            choose(operator, request, device_type)
        except KernelUnavailable as error:
            raise UserError(
                f"model.kernels is {request!r} ({error})",
                expected="a backend that can run here",
                remedy="set model.kernels to auto or reference",
            ) from error
