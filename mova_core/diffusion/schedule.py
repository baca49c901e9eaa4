"""Which noise levels a sampler visits: one schedule, with its own shift for video and for audio.

The release's solver rounds every level to a grid of 1000, which is off by up to 2.2e-3. Schedules here are exact;
`snapped_as_released` reproduces the rounding where the release's own numbers are wanted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from mova_core.diffusion.flow import NUM_TRAIN_TIMESTEPS, shifted

SIGMA_MIN = 0.003 / 1.002
"""Where the unshifted grid ends by default, as in the release."""


@dataclass(frozen=True)
class Point:
    """One moment of sampling: the noise level of either modality, and the timestep (0..1000) that the model reads."""

    video_sigma: float
    audio_sigma: float
    video_timestep: float
    audio_timestep: float


@dataclass(frozen=True)
class PairedSchedule:
    """Noise levels from noise to data; the last point has sigma 0 in both modalities."""

    points: tuple[Point, ...]

    @property
    def num_steps(self) -> int:
        return len(self.points) - 1

    def held(self, *, video: bool = False, audio: bool = False) -> PairedSchedule:
        """The schedule for a modality whose latents are given clean: its level and its timestep are 0 throughout."""
        points = self.points
        if video:
            points = tuple(dataclasses.replace(p, video_sigma=0.0, video_timestep=0.0) for p in points)
        if audio:
            points = tuple(dataclasses.replace(p, audio_sigma=0.0, audio_timestep=0.0) for p in points)
        return PairedSchedule(points)


def paired_schedule(
    num_steps: int,
    *,
    video_shift: float,
    audio_shift: float,
    strength: float = 1.0,
    extra_one_step: bool = True,
    sigma_min: float = SIGMA_MIN,
) -> PairedSchedule:
    """The release's schedule, exactly.

    Parameters
    ----------
    num_steps : model evaluations of a first-order solver without guidance.
    video_shift, audio_shift : each modality's shift of one common u.
    strength : where to begin, from 0 (nearly clean) to 1 (noise).
    sigma_min : where the unshifted grid ends.
    extra_one_step : whether u stops one step before `sigma_min` (the release's checkpoints) or at it; either way the
        last step goes to 0.

    Raises
    ------
    ValueError : if `num_steps` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}, expected at least 1")
    u = _unshifted_grid(num_steps, strength, extra_one_step, sigma_min)
    pairs = zip(shifted(u, video_shift).tolist(), shifted(u, audio_shift).tolist(), strict=True)
    points = [Point(video, audio, video * NUM_TRAIN_TIMESTEPS, audio * NUM_TRAIN_TIMESTEPS) for video, audio in pairs]
    return PairedSchedule((*points, Point(0.0, 0.0, 0.0, 0.0)))


def training_grid(shift: float, extra_one_step: bool = True, sigma_min: float = SIGMA_MIN) -> torch.Tensor:
    """The 1000 noise levels, descending, that the release trains on and rounds its solver to; float64."""
    return shifted(_unshifted_grid(NUM_TRAIN_TIMESTEPS, 1.0, extra_one_step, sigma_min), shift)


def snapped_as_released(schedule: PairedSchedule, grid: torch.Tensor) -> PairedSchedule:
    """`schedule` with the sigmas, not the timesteps, rounded to the nearest of `grid`, as the release's solver does."""

    def snap(timestep: float) -> float:
        return float(grid[(grid * NUM_TRAIN_TIMESTEPS - timestep).abs().argmin()])

    snapped = [
        dataclasses.replace(p, video_sigma=snap(p.video_timestep), audio_sigma=snap(p.audio_timestep))
        for p in schedule.points[:-1]
    ]
    return PairedSchedule((*snapped, schedule.points[-1]))


def _unshifted_grid(num: int, strength: float, extra_one_step: bool, sigma_min: float) -> torch.Tensor:
    start = sigma_min + (1.0 - sigma_min) * strength
    if extra_one_step:
        return torch.linspace(start, sigma_min, num + 1, dtype=torch.float64)[:-1]
    return torch.linspace(start, sigma_min, num, dtype=torch.float64)
