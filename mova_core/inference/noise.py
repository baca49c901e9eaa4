"""The noise that a clip starts from: a function of its seed and its size, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def initial_noise(
    seeds: Sequence[int], video_shape: tuple[int, ...], audio_shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal latents `[b, *video_shape]` and `[b, *audio_shape]` in float32 on the CPU.

    Each clip has a generator of its own, so its noise is the same in every batch and on every device. Video is drawn
    before audio, as the release does.
    """
    video, audio = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        video.append(torch.randn(video_shape, generator=generator))
        audio.append(torch.randn(audio_shape, generator=generator))
    return torch.stack(video), torch.stack(audio)
