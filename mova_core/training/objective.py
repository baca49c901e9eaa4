"""The training loss: flow matching of both modalities at independent noise levels (report section 3.3).

Axes: b sample, c channel, F latent frame, h w latent rows and columns, l audio latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mova_core.diffusion.flow import NUM_TRAIN_TIMESTEPS, noised, shifted, target_velocity, unshifted
from mova_core.models.audio_tower import AudioTower
from mova_core.models.build import MASK_CHANNELS
from mova_core.models.dual_tower import DualTower, Expert

GIVEN_LATENT_FRAMES = 1
"""The first latent frame is given as condition, so predicting it is no task."""


@dataclass(frozen=True)
class AudioBatch:
    """Clean latents `[b, c, l]`, noise of that shape, noise level `[b]`, text `[b, m, d]`."""

    audio: torch.Tensor
    audio_noise: torch.Tensor
    audio_sigma: torch.Tensor
    text: torch.Tensor


@dataclass(frozen=True)
class JointBatch(AudioBatch):
    """Also the picture's: latents and noise `[b, c, F, h, w]`, level `[b]`, condition `[b, 4 + c, F, h, w]`; which
    samples have the Bridge on, `[b]` bool; and which expert learns."""

    video: torch.Tensor
    video_noise: torch.Tensor
    video_sigma: torch.Tensor
    condition: torch.Tensor
    bridge: torch.Tensor
    expert: Expert


class AudioObjective(nn.Module):
    """Phase 0: the audio tower alone. `forward` returns losses `[b, 1]`: audio."""

    def __init__(self, tower: AudioTower) -> None:
        super().__init__()
        self.model = tower

    def forward(self, batch: AudioBatch) -> torch.Tensor:
        noisy = noised(batch.audio, batch.audio_noise, batch.audio_sigma)
        velocity = self.model(noisy, batch.audio_sigma * NUM_TRAIN_TIMESTEPS, batch.text)
        return squared_error(velocity, target_velocity(batch.audio, batch.audio_noise))[:, None]


class JointObjective(nn.Module):
    """Both towers and the Bridge. `forward` returns losses `[b, 2]`: video, audio, each a mean over elements.

    Parameters
    ----------
    video_fps : frames a second, for the Bridge's common clock.
    given_frames : latent frames at the start that the loss leaves out.
    """

    def __init__(self, model: DualTower, video_fps: float, given_frames: int = GIVEN_LATENT_FRAMES) -> None:
        super().__init__()
        self.model = model
        self.video_fps = video_fps
        self.given_frames = given_frames

    def forward(self, batch: JointBatch) -> torch.Tensor:
        video_velocity, audio_velocity = self.model(
            noised(batch.video, batch.video_noise, batch.video_sigma),
            batch.condition,
            noised(batch.audio, batch.audio_noise, batch.audio_sigma),
            batch.video_sigma * NUM_TRAIN_TIMESTEPS,
            batch.audio_sigma * NUM_TRAIN_TIMESTEPS,
            batch.text,
            expert=batch.expert,
            bridge=batch.bridge,
            video_fps=self.video_fps,
        )
        predicted = slice(self.given_frames, None)
        video_target = target_velocity(batch.video, batch.video_noise)
        video = squared_error(video_velocity[:, :, predicted], video_target[:, :, predicted])
        audio = squared_error(audio_velocity, target_velocity(batch.audio, batch.audio_noise))
        return torch.stack((video, audio), dim=1)


def first_frame_condition(first_frame: torch.Tensor) -> torch.Tensor:
    """The condition `[b, 4 + c, F, h, w]` of clips whose first frame is given, as in the release: four mask channels, 1
    in the first latent frame and 0 elsewhere, then `first_frame`, the latents of a clip that shows it once, then grey.
    """
    batch, _, frames, height, width = first_frame.shape
    mask = first_frame.new_zeros(batch, MASK_CHANNELS, frames, height, width)
    mask[:, :, :GIVEN_LATENT_FRAMES] = 1
    return torch.cat((mask, first_frame), dim=1)


def squared_error(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean squared error of each sample, `[b]`, in float32."""
    error: torch.Tensor = (predicted.float() - target.float()).square().flatten(1).mean(1)
    return error


def levels_of(expert: Expert | None, shift: float, boundary: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
    """The map from uniform u in [0, 1) to an expert's noise levels, with None for all levels.

    The high-noise expert serves sigma from `boundary` upwards; inside its interval the law is that of sigma(u) with u
    uniform, conditioned.
    """
    at_boundary = float(unshifted(torch.tensor(boundary, dtype=torch.float64), shift))
    low = at_boundary if expert == "high_noise" else 0.0
    high = at_boundary if expert == "low_noise" else 1.0

    def sigma(u: torch.Tensor) -> torch.Tensor:
        return shifted(low + (high - low) * u.double(), shift).float()

    return sigma
