"""Positions and rotations: where every token of either modality lies in time and space.

All mapping from frames to time is here and nowhere else. Three schemes:

- video self-attention: interleaved pairs, the head split over (frame, row, column);
- audio self-attention: interleaved pairs over one axis (two releases of the tower differ in how);
- the Bridge: halves, both modalities on one clock that counts audio latents (aligned RoPE, report section 3.2).

Angles are computed in float64 and stored in the precision that the rotation runs in. Tables are cached per shape.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch.nn import functional

BASE = 10000.0
TABLES_KEPT = 32

TEMPORAL_STRIDE = 4
"""Video frames in a latent frame, the first aside, which holds one: a fact of the release's format."""

AudioScheme = Literal["dac", "oobleck"]
OOBLECK_SCALE = 4.0 / (44100.0 / 2048.0)
"""The first audio tower counted positions at 4 a second over latents at 44100/2048 Hz."""

Grid = tuple[int, int, int]
"""Tokens along (frame, row, column)."""


def rotate_interleaved(x_blhd: torch.Tensor, table_ld: torch.Tensor) -> torch.Tensor:
    """Rotates channels (2i, 2i+1) of each head by the angle of their token.

    Parameters
    ----------
    x_blhd : queries or keys, `[batch, token, head, head_dim]`.
    table_ld : complex unit numbers `[token, head_dim / 2]`; their precision is the rotation's.
    """
    real = torch.float64 if table_ld.dtype == torch.complex128 else torch.float32
    pairs = torch.view_as_complex(x_blhd.to(real).reshape(*x_blhd.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table_ld[:, None]).flatten(-2).to(x_blhd.dtype)


@functools.lru_cache(maxsize=TABLES_KEPT)
def video_table(
    grid: Grid, head_dim: int, spatial_scale: float, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Complex rotations `[frames * rows * columns, head_dim / 2]` of a video's tokens, columns fastest.

    Of `head_dim` channels, rows and columns get a third each (rounded down) and frames the rest. `spatial_scale`
    multiplies row and column positions: 1/2 at twice the trained resolution keeps the trained range of angles.

    Raises
    ------
    ValueError : if a third of `head_dim` is odd, so that an axis would split a pair.
    """
    third = head_dim // 3
    if third % 2 or head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}, a third of it {third}; expected both even (12, 20, 24, 32, 96, 128)")
    with torch.inference_mode(False):
        axes = (
            _angles(torch.arange(grid[0], dtype=torch.float64), head_dim - 2 * third),
            _angles(torch.arange(grid[1], dtype=torch.float64) * spatial_scale, third),
            _angles(torch.arange(grid[2], dtype=torch.float64) * spatial_scale, third),
        )
        spread = [
            angles.view([-1 if axis == own else 1 for axis in range(3)] + [angles.shape[-1]]).expand(*grid, -1)
            for own, angles in enumerate(axes)
        ]
        return _unit(torch.cat(spread, dim=-1).flatten(0, 2)).to(device=device, dtype=dtype)


@functools.lru_cache(maxsize=TABLES_KEPT)
def audio_table(
    num_tokens: int, head_dim: int, scheme: AudioScheme, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Complex rotations `[num_tokens, head_dim / 2]` of an audio latent sequence.

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
        return _unit(angles).to(device=device, dtype=dtype)


@functools.lru_cache(maxsize=TABLES_KEPT)
def aligned_tables(
    grid: Grid,
    num_audio_tokens: int,
    head_dim: int,
    video_fps: float,
    audio_latent_rate_hz: float,
    first_frame_bias: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines of the Bridge: ((video cos, sin), (audio cos, sin)), each `[tokens, head_dim]`.

    Positions and inverse frequencies are float32 as in the release, whose tables these equal.
    """
    with torch.inference_mode(False):
        frames = video_positions(grid[0], video_fps, audio_latent_rate_hz, first_frame_bias)
        tokens = frames.repeat_interleave(grid[1] * grid[2])
        audio = torch.arange(num_audio_tokens, dtype=torch.float32)
        return (
            _cos_sin(tokens, head_dim, device, dtype),
            _cos_sin(audio, head_dim, device, dtype),
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

    The product is taken in float32, as in the release: at position 400 that is 3e-5 off.
    """
    if first_frame_bias:
        frames = torch.arange(num_latent_frames, dtype=torch.float64)
        seconds = ((frames - 1) * TEMPORAL_STRIDE + 1).clamp(min=0) / video_fps
        return (seconds * audio_latent_rate_hz).to(torch.float32)
    return torch.arange(num_latent_frames, dtype=torch.float32) * (audio_latent_rate_hz * TEMPORAL_STRIDE / video_fps)


def spread_over_audio(frames_bfd: torch.Tensor, num_audio_tokens: int) -> torch.Tensor:
    """Per-frame states `[batch, frame, dim]` read off at every audio token by linear interpolation.

    Both sequences cover the same span, cell by cell (the first audio token lies at the first frame's beginning).
    """
    return functional.interpolate(frames_bfd.transpose(1, 2), size=num_audio_tokens, mode="linear").transpose(1, 2)


def _angles(positions: torch.Tensor, num_channels: int) -> torch.Tensor:
    exponents = torch.arange(0, num_channels, 2, dtype=positions.dtype) / num_channels
    return torch.outer(positions, 1.0 / BASE**exponents)


def _unit(angles: torch.Tensor) -> torch.Tensor:
    return torch.polar(torch.ones_like(angles), angles)


def _cos_sin(
    positions: torch.Tensor, head_dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    half = _angles(positions, head_dim)
    angles = torch.cat((half, half), dim=-1)
    return angles.cos().to(device=device, dtype=dtype), angles.sin().to(device=device, dtype=dtype)
