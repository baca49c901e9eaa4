"""Positions and rotations: where every token of either modality lies in time and space.

All mapping from frames to time is here and nowhere else. Three schemes:

- video self-attention: interleaved pairs, the head split over (frame, row, column);
- audio self-attention: interleaved pairs over one axis (two releases of the tower differ in how);
- the Bridge: halves, both modalities on one clock that counts audio latents (aligned RoPE, report section 3.2).

Angles are computed in float64 and stored in the precision that the rotation runs in, one row for each position along an
axis (`kernels.aligned_rope.rotation`). Tables are cached per shape.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch.nn import functional

from kernels.aligned_rope import Rotation, rotation_from_angles

BASE = 10000.0
TABLES_KEPT = 32

TEMPORAL_STRIDE = 4
"""Video frames in a latent frame, the first aside, which holds one: a fact of the release's format."""

AudioScheme = Literal["dac", "oobleck"]
OOBLECK_SCALE = 4.0 / (44100.0 / 2048.0)
"""The first audio tower counted positions at 4 a second over latents at 44100/2048 Hz."""

Grid = tuple[int, int, int]
"""Tokens along (frame, row, column)."""


@functools.lru_cache(maxsize=TABLES_KEPT)
def video_rotation(
    grid: Grid, head_dim: int, spatial_scale: float, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """The turns of a video's tokens in its tower.

    Of `head_dim` channels, rows and columns get a third each (rounded down) and frames the rest. `spatial_scale`
    multiplies row and column positions: 1/2 at twice the trained resolution keeps the trained range of angles.

    Raises
    ------
    ValueError : if a third of `head_dim` is odd, so that an axis would split a pair.
    """
    check_head_dim(head_dim)
    third = head_dim // 3
    with torch.inference_mode(False):
        axes = (
            _angles(torch.arange(grid[0], dtype=torch.float64), head_dim - 2 * third),
            _angles(torch.arange(grid[1], dtype=torch.float64) * spatial_scale, third),
            _angles(torch.arange(grid[2], dtype=torch.float64) * spatial_scale, third),
        )
        return rotation_from_angles(axes, grid, "interleaved", dtype, device)


def check_head_dim(head_dim: int) -> None:
    """Raises ValueError if a head cannot be split over frames, rows and columns (see `video_rotation`)."""
    third = head_dim // 3
    if third % 2 or head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}, a third of it {third}; expected both even (12, 20, 24, 32, 96, 128)")


@functools.lru_cache(maxsize=TABLES_KEPT)
def audio_rotation(
    num_tokens: int, head_dim: int, scheme: AudioScheme, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """The turns of an audio latent sequence in its tower.

    `dac` (the release) turns every pair by its token's index. `oobleck` (the family's older codec) splits the head as
    the video tower does, turns only the first part, and scales its positions.
    """
    with torch.inference_mode(False):
        positions = torch.arange(num_tokens, dtype=torch.float64)
        if scheme == "dac":
            angles = _angles(positions, head_dim)
        else:
            third = head_dim // 3
            turned = _angles(positions * OOBLECK_SCALE, head_dim - 2 * third)
            angles = torch.cat((turned, turned.new_zeros(num_tokens, head_dim // 2 - turned.shape[-1])), dim=-1)
        return rotation_from_angles((angles,), (num_tokens, 1, 1), "interleaved", dtype, device)


@functools.lru_cache(maxsize=TABLES_KEPT)
def aligned_rotations(
    grid: Grid,
    num_audio_tokens: int,
    head_dim: int,
    video_fps: float,
    audio_latent_rate_hz: float,
    first_frame_bias: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Rotation, Rotation]:
    """The turns of (video, audio) tokens in the Bridge, both on the clock that counts audio latents.

    Positions and inverse frequencies are float32 as in the release, whose tables these equal.
    """
    with torch.inference_mode(False):
        frames = video_positions(grid[0], video_fps, audio_latent_rate_hz, first_frame_bias)
        audio = torch.arange(num_audio_tokens, dtype=torch.float32)
        return (
            rotation_from_angles((_angles(frames, head_dim),), grid, "halves", dtype, device),
            rotation_from_angles((_angles(audio, head_dim),), (num_audio_tokens, 1, 1), "halves", dtype, device),
        )


def video_positions(
    num_latent_frames: int,
    video_fps: float,
    audio_latent_rate_hz: float,
    first_frame_bias: bool,
) -> torch.Tensor:
    """Where latent frames lie on the clock that counts audio latents, float32 `[num_latent_frames]`.

    Without the bias, frame i lies at s * i with s = audio latents per video latent. With it, the first latent frame
    holds one picture and the others four, so frame i >= 1 starts at 1/fps + (i - 1) * 4/fps seconds.

    Every operation rounds to float32, in the order in which the release takes them: at position 400 that is 3e-5 off,
    which its recorded tables show.
    """
    seconds_a_latent = 1 / (video_fps / TEMPORAL_STRIDE)
    frames = torch.arange(num_latent_frames, dtype=torch.float32)
    if not first_frame_bias:
        return frames * (audio_latent_rate_hz / (video_fps / TEMPORAL_STRIDE))
    starts = (frames - 1) * seconds_a_latent + 1 / video_fps
    return torch.where(frames > 0, starts, 0) * audio_latent_rate_hz


def spread_over_audio(frames_bfd: torch.Tensor, num_audio_tokens: int) -> torch.Tensor:
    """Per-frame states `[batch, frame, dim]` read off at every audio token by linear interpolation.

    Both sequences cover the same span, cell by cell (the first audio token lies at the first frame's beginning).
    """
    return functional.interpolate(frames_bfd.transpose(1, 2), size=num_audio_tokens, mode="linear").transpose(1, 2)


def _angles(positions: torch.Tensor, num_channels: int) -> torch.Tensor:
    exponents = torch.arange(0, num_channels, 2, dtype=positions.dtype) / num_channels
    return torch.outer(positions, 1.0 / BASE**exponents)
