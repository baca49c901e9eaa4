"""Floating point operations of one model evaluation, by formula; a multiply and an add count as two.

With L video tokens of width d and F = ffn width, M text rows, A audio tokens of width e:

- a tower's layer: 8 L d^2 (self q k v o) + 4 L^2 d (scores and sum) + 4 L d^2 (cross q o) + 4 M d^2 (cross k v)
  + 4 L M d + 4 L d F (feed-forward);
- a layer of the Bridge: for the video 4 L d^2 (q o) + 4 A e d (k v) + 4 L A d, for the audio 4 A e^2 + 4 L d e
  + 4 L A e;
- once: patches in and out, text rows through two linear layers, the time embedding.

Norms, rotations, modulation and softmax are not counted: the measure is of products, as model FLOPs utilisation is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import interaction_layers
from mova_core.models.dual_tower import DualTowerConfig
from mova_core.models.tower import MODULATIONS_PER_BLOCK
from mova_core.models.video_tower import VideoTowerConfig


@dataclass(frozen=True)
class Flops:
    """Of one sample: the video tower in use, the audio tower, the Bridge."""

    video: int
    audio: int
    bridge: int

    @property
    def total(self) -> int:
        return self.video + self.audio + self.bridge


def evaluation_flops(
    config: DualTowerConfig, num_video_tokens: int, num_audio_tokens: int, num_text_rows: int
) -> Flops:
    """One evaluation of the joint model with the Bridge on one sample."""
    video, audio, bridge = config.video, config.audio, config.bridge
    layers = len(interaction_layers(bridge.interaction_strategy, video.num_layers, audio.num_layers))
    tokens, d, a, e = num_video_tokens, video.dim, num_audio_tokens, audio.dim
    to_video = 4 * tokens * d * d + 4 * a * e * d + 4 * tokens * a * d
    to_audio = 4 * a * e * e + 4 * tokens * d * e + 4 * tokens * a * e
    return Flops(
        video=tower_flops(video, tokens, num_text_rows),
        audio=tower_flops(audio, a, num_text_rows),
        bridge=layers * (to_video + to_audio),
    )


def tower_flops(config: VideoTowerConfig | AudioTowerConfig, num_tokens: int, num_text_rows: int) -> int:
    """One tower without the Bridge on one sample."""
    tokens, d, m = num_tokens, config.dim, num_text_rows
    products = 12 * tokens * d * d + 4 * m * d * d + 4 * tokens * d * config.ffn_dim
    attention = 4 * tokens * tokens * d + 4 * tokens * m * d
    channels = math.prod(config.patch_size) * (config.in_dim + config.out_dim)
    once = 2 * tokens * channels * d + 2 * m * d * (config.text_dim + d)
    time = 2 * d * (config.freq_dim + d + MODULATIONS_PER_BLOCK * d)
    return config.num_layers * (products + attention) + once + time
