"""Given pictures as the video tower reads them: a mask, and their latents.

Axes: b clip, T pixel frame, F latent frame. The four mask channels of a latent frame stand for its four pixel frames;
the first latent frame holds one pixel frame, which all four stand for.
"""

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
    known = torch.zeros(num_frames, dtype=torch.bool)
    known[0] = True
    return torch.cat((_mask(known, latents), latents), dim=1)


def frames_condition(
    codec: VideoCodec, frames: Pixels, known: torch.Tensor, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """The condition of clips of which `frames` `[b, T, H, W, 3]` are given where `known` `[T]` says so, else grey."""
    video = video_tensor(frames, device) * known.to(device).view(1, 1, -1, 1, 1)
    latents = codec.encode(video)
    return torch.cat((_mask(known, latents), latents), dim=1)


def no_condition(codec: VideoCodec, clips_shape: tuple[int, ...], device: torch.device | str = "cpu") -> torch.Tensor:
    """The condition of clips `[b, T, H, W]` of which nothing is given: no mask, and the latents of grey."""
    count, num_frames, height, width = clips_shape
    grey = torch.zeros(1, 3, 1, height, width, device=device)
    latents = codec.encode_first_frame(grey, num_frames)
    mask = torch.zeros_like(latents[:, :1]).repeat(1, MASK_CHANNELS, 1, 1, 1)
    return torch.cat((mask, latents), dim=1).repeat(count, 1, 1, 1, 1)


def _mask(known: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Mask channels `[b, 4, F, h, w]` of the given pixel frames `known` `[T]`."""
    first = known[:1].repeat(MASK_CHANNELS)
    channels = torch.cat((first, known[1:])).reshape(-1, MASK_CHANNELS).T.to(latents)
    return channels[None, :, :, None, None].repeat(len(latents), 1, 1, *latents.shape[3:])
