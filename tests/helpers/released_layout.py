"""A checkpoint of the released model's classes at the smallest size: towers and Bridge, Wan VAE, DAC, UMT5."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_release import AUDIO_CHANNELS, HOP, SAMPLE_RATE_HZ, TEXT_DIM, VIDEO_CHANNELS, tiny_model, tiny_text_encoder
from transformers import UMT5Config, UMT5EncoderModel

from mova_core.codecs.dac_audio import DacAudioCodec
from mova_core.codecs.dac_layers import Dac, DacConfig
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.diffusion.scheduler import Scheduler
from mova_core.models.weights import save_model


def released_layout(folder: Path) -> Path:
    """Writes all ten parts of a release, every weight random and stored in bfloat16 as the released ones are."""
    from diffusers import AutoencoderKLWan

    tiny_text_encoder(folder)  # for its tokenizer
    for file in (folder / "text_encoder").iterdir():
        file.unlink()
    torch.manual_seed(0)
    text = UMT5Config(vocab_size=64, d_model=TEXT_DIM, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    UMT5EncoderModel(text).bfloat16().save_pretrained(folder / "text_encoder")
    WanVideoCodec(AutoencoderKLWan(base_dim=8, num_res_blocks=1, attn_scales=[]).bfloat16()).save(folder / "video_vae")
    rates = (2, 8, 10)
    sound = Dac(DacConfig(2, rates, AUDIO_CHANNELS, 16, rates[::-1], SAMPLE_RATE_HZ, continuous=True))
    assert sound.config.hop == HOP
    DacAudioCodec(sound.bfloat16()).save(folder / "audio_vae")
    Scheduler(video_shift=5.0, audio_shift=5.0).save(folder)
    model = tiny_model()
    assert model.config.video.out_dim == VIDEO_CHANNELS
    save_model(model.bfloat16(), folder)
    return folder
