"""Between arrays (what media files hold) and latents, through the codecs.

Arrays: frames uint8 [B, T, H, W, 3] RGB, waveforms float32 [B, S] in [-1, 1]. Shapes of tensors as in
`mova_core.codecs.base`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mova_core.codecs.base import Codecs, VideoCodec
from mova_core.codecs.reading import area_resized

Frames = NDArray[np.uint8]
Waveforms = NDArray[np.float32]

HALF_RANGE = 127.5  # uint8 0..255 -> -1..1


class ClipLatents(NamedTuple):
    """Latents of some clips: video [B, C, F, h, w], audio [B, C, L]."""

    video: Tensor
    audio: Tensor


class ClipArrays(NamedTuple):
    """Some clips: frames uint8 [B, T, H, W, 3], waveforms float32 [B, S]."""

    frames: Frames
    waveforms: Waveforms


def encode_clip_arrays(
    codecs: Codecs,
    frames: Frames,
    waveforms: Waveforms,
    resolution: tuple[int, int],
    device: torch.device | str = "cpu",
) -> ClipLatents:
    """Real clips to latents; frames are first brought down to `resolution` (height, width).

    device : where the codecs are.
    """
    small = np.stack([area_resized(clip, resolution) for clip in frames])
    return ClipLatents(
        video=codecs.video.encode(video_tensor(small, device)),
        audio=codecs.audio.encode(audio_tensor(waveforms, device)),
    )


def decode_clip_latents(codecs: Codecs, latents: ClipLatents, num_samples: int) -> ClipArrays:
    """Latents to frames and to waveforms of `num_samples` samples."""
    waveforms = codecs.audio.decode(latents.audio)[:, 0, :num_samples]
    return ClipArrays(decoded_frames(codecs.video, latents.video), waveforms.float().cpu().numpy())


def decoded_frames(codec: VideoCodec, latents: Tensor) -> Frames:
    """Video latents [B, C, F, h, w] to frames; part by part, since frames as floats take four times their room."""
    return np.concatenate([video_array(part) for part in codec.decode_parts(latents)], axis=1)


def round_trip(
    codecs: Codecs,
    frames: Frames,
    waveforms: Waveforms,
    resolution: tuple[int, int],
    device: torch.device | str = "cpu",
) -> ClipArrays:
    """Real clips through the codecs and back, at `resolution`: the best that a model could give."""
    latents = encode_clip_arrays(codecs, frames, waveforms, resolution, device)
    return decode_clip_latents(codecs, latents, waveforms.shape[-1])


def video_tensor(frames: Frames, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [B, T, H, W, 3] -> float32 [B, 3, T, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pixels.movedim(-1, 1).float().div_(HALF_RANGE).sub_(1)


def video_array(video: Tensor) -> Frames:
    """[B, 3, T, H, W] in [-1, 1] -> uint8 [B, T, H, W, 3], rounded to the nearest level."""
    pixels = video.float().add(1).mul_(HALF_RANGE).round_().clamp_(0, 255).byte()
    frames: Frames = pixels.movedim(1, -1).contiguous().cpu().numpy()
    return frames


def audio_tensor(waveforms: Waveforms, device: torch.device | str = "cpu") -> Tensor:
    """float32 [B, S] -> [B, 1, S]."""
    return torch.from_numpy(np.ascontiguousarray(waveforms)).to(device).unsqueeze(1)
