"""The released model and its codecs at full size, without storage: shapes alone."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any, cast

import torch

from mova_core.codecs.base import Codecs, TextEncoder
from mova_core.codecs.dac_audio import DacAudioCodec
from mova_core.codecs.dac_layers import Dac, DacConfig
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.config import parse_config, preset_text
from mova_core.models.build import tower_config
from mova_core.models.dual_tower import DualTower

NUM_TEXT_PARAMETERS, NUM_DAC_PARAMETERS, NUM_VAE_PARAMETERS = 5_680_910_336, 371_539_137, 126_892_531


def full_model() -> DualTower:
    """Both experts, audio tower and Bridge in bfloat16."""
    section = parse_config(preset_text("mova-360p"), source="mova-360p").model
    config = tower_config(
        section, video_latent_channels=16, audio_latent_channels=128, text_dim=4096, audio_latent_rate_hz=50.0
    )
    with torch.device("meta"):
        return DualTower(config, "reference").to(torch.bfloat16)


def full_codecs() -> Codecs:
    """UMT5-XXL's encoder in bfloat16, and both autoencoders in float32, as they are computed with by default."""
    transformers: Any = importlib.import_module("transformers")
    diffusers: Any = importlib.import_module("diffusers")
    shape = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    with torch.device("meta"):
        encoder = transformers.UMT5EncoderModel(transformers.UMT5Config(feed_forward_proj="gated-gelu", **shape))
        vae = diffusers.AutoencoderKLWan()
        dac = Dac(
            DacConfig(
                encoder_dim=128,
                encoder_rates=(2, 3, 4, 5, 8),
                decoder_dim=2048,
                decoder_rates=(8, 5, 4, 3, 2),
                latent_dim=128,
                sample_rate=48000,
                continuous=True,
            )
        )
    text = SimpleNamespace(dim=4096, max_tokens=512, model=encoder.to(torch.bfloat16))
    return Codecs(WanVideoCodec(vae), DacAudioCodec(dac), cast(TextEncoder, text))
