"""What of a clip is given besides its prompt: pictures, a whole video, a whole sound, or the start of both.

A whole modality is held: its latents are the given ones throughout, at noise level and timestep 0, and only the other
is sampled (video to audio, audio to video). A given part is put back after each step at that step's noise level, which
is where the path from its own noise to it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mova_core.diffusion.flow import Pair, noised
from mova_core.diffusion.schedule import PairedSchedule, Point


@dataclass(frozen=True)
class Known:
    """Given latents of one modality.

    Attributes
    ----------
    clean : `[b, c, n, ...]`, of which only what `frames` marks is meant.
    frames : bool `[n]`, which latent frames are given.
    """

    clean: torch.Tensor
    frames: torch.Tensor

    @property
    def whole(self) -> bool:
        return bool(self.frames.all())

    def put_back(self, latents: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
        """`latents` with the given frames at noise level `sigma`."""
        level = torch.full((len(latents),), sigma, dtype=torch.float64, device=latents.device)
        given = noised(self.clean, noise, level).to(latents.dtype)
        marked = self.frames.reshape(-1, *([1] * (latents.dim() - 3)))
        return torch.where(marked, given, latents)


@dataclass(frozen=True)
class KnownPair:
    """What is given of either modality; None for nothing."""

    video: Known | None = None
    audio: Known | None = None

    @property
    def holds_video(self) -> bool:
        return self.video is not None and self.video.whole

    @property
    def holds_audio(self) -> bool:
        return self.audio is not None and self.audio.whole

    def schedule(self, schedule: PairedSchedule) -> PairedSchedule:
        """`schedule`, with a held modality at level 0."""
        return schedule.held(video=self.holds_video, audio=self.holds_audio)

    def put_back(self, latents: Pair, noise: Pair, point: Point) -> Pair:
        """`latents` with everything given at the point's noise levels."""
        video, audio = latents
        if self.video is not None:
            video = self.video.put_back(video, noise[0], point.video_sigma)
        if self.audio is not None:
            audio = self.audio.put_back(audio, noise[1], point.audio_sigma)
        return video, audio
