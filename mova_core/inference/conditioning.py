"""The given first frame as the video tower reads it: a mask, and its latent."""

from __future__ import annotations

import torch

from mova_core.codecs.arrays import video_tensor
from mova_core.codecs.base import VideoCodec
from mova_core.inference.inputs import Pixels
from mova_core.models.build import MASK_CHANNELS


def first_frame_condition(
    codec: VideoCodec, frames: Pixels, num_frames: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """The condition `[b, 4 + c, F, h, w]` of clips of `num_frames` that begin with `frames` `[b, H, W, 3]`.

    Four mask channels, 1 in the first latent frame and 0 elsewhere, then `VideoCodec.encode_first_frame`.
    """
    latents = codec.encode_first_frame(video_tensor(frames[:, None], device), num_frames)
    mask = torch.zeros_like(latents[:, :1]).repeat(1, MASK_CHANNELS, 1, 1, 1)
    mask[:, :, 0] = 1
    return torch.cat((mask, latents), dim=1)
