"""A whole checkpoint at the smallest size: random towers and Bridge, codecs fitted on noise, a tiny text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mova_core.codecs.base import Codecs
from mova_core.codecs.nano_audio import NanoAudioCodec, NanoAudioFitter
from mova_core.codecs.nano_video import NanoVideoFitter
from mova_core.codecs.text import MiniLmTextEncoder
from mova_core.diffusion.scheduler import Scheduler
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig
from mova_core.models.weights import save_model

VIDEO_CHANNELS, AUDIO_CHANNELS, TEXT_DIM = 16, 8, 16
SAMPLE_RATE_HZ, HOP = 8000, 160
WORDS = ("a", "lamp", "flashes", "with", "bell", "ball", "bounces", "the", "wheel", "hums", "face", "speaks")


def tiny_model(seed: int = 0) -> DualTower:
    """Two experts and a Bridge, 24 wide, with every weight random (heads too, so that outputs are not zero)."""
    torch.manual_seed(seed)
    shape = {"ffn_dim": 32, "num_heads": 2, "num_layers": 2, "freq_dim": 16, "text_dim": TEXT_DIM}
    return DualTower(
        DualTowerConfig(
            video=VideoTowerConfig(dim=24, in_dim=2 * VIDEO_CHANNELS + 4, out_dim=VIDEO_CHANNELS, **shape),
            audio=AudioTowerConfig(dim=24, in_dim=AUDIO_CHANNELS, out_dim=AUDIO_CHANNELS, **shape),
            bridge=BridgeConfig(
                visual_layers=2,
                audio_layers=2,
                visual_hidden_dim=24,
                audio_hidden_dim=24,
                audio_fps=SAMPLE_RATE_HZ / HOP,
                head_dim=12,
            ),
        )
    )


def tiny_model_section(section: dict[str, Any]) -> dict[str, Any]:
    """The configuration's `model` section as `tiny_model` has it."""
    tower = {"dim": 24, "ffn_dim": 32, "num_heads": 2, "num_layers": 2, "freq_dim": 16}
    return {
        **section,
        "boundary_ratio": 0.9,
        "video_dit": {**section["video_dit"], **tower},
        "audio_dit": {**section["audio_dit"], **tower},
        "dual_tower_bridge": {**section["dual_tower_bridge"], "head_dim": 12},
    }


def tiny_codecs(folder: Path, seed: int = 0, video_channels: int = VIDEO_CHANNELS) -> Codecs:
    """Codecs fitted on noise, saved under `folder`."""
    generator = torch.Generator().manual_seed(seed)
    video = NanoVideoFitter(video_channels)
    audio = NanoAudioFitter(
        NanoAudioCodec(
            sample_rate_hz=SAMPLE_RATE_HZ, hop=HOP, overlap=32, compand_power=0.5, latent_channels=AUDIO_CHANNELS
        )
    )
    for _ in range(2):
        video.add(torch.rand(3, 9, 32, 32, generator=generator) * 2 - 1)
        audio.add(torch.rand(1, SAMPLE_RATE_HZ, generator=generator) * 2 - 1)
    codecs = Codecs(video.finish(), audio.finish(), tiny_text_encoder(folder, seed))
    codecs.video.save(folder / "video_vae")
    codecs.audio.save(folder / "audio_vae")
    return codecs


def tiny_text_encoder(folder: Path, seed: int = 0) -> MiniLmTextEncoder:
    """A random BERT over a dozen words, saved under `folder` and loaded as MiniLM is."""
    torch.manual_seed(seed)
    vocabulary = {word: index for index, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    ).save_pretrained(folder / "tokenizer")
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=TEXT_DIM,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
    ).save_pretrained(folder / "text_encoder")
    return MiniLmTextEncoder.load(folder)


def tiny_checkpoint(folder: Path, seed: int = 0, with_codecs: bool = True) -> Path:
    """Model, schedule and codecs in one folder, as a release has them; training's checkpoints have no codecs."""
    if with_codecs:
        tiny_codecs(folder, seed)
    Scheduler(video_shift=2.0, audio_shift=3.0, num_given_frames=1).save(folder)
    save_model(tiny_model(seed), folder)
    return folder
