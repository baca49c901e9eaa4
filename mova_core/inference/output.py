"""What a pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mova_core.inference.inputs import Settings

OutputType = Literal["np", "pt", "latent"]


@dataclass(frozen=True)
class MovaOutput:
    """Generated clips, and all that is needed to generate them again. Axes: b clip, t frame, s sample.

    Attributes
    ----------
    frames : by output_type: ``np`` uint8 RGB `[b, t, h, w, 3]`; ``pt`` float32 `[b, t, 3, h, w]` in 0..1; ``latent``
        the video latents `[b, c, F, h, w]`.
    audio : ``np`` float32 `[b, s]` in [-1, 1]; ``pt`` the same as a tensor; ``latent`` the audio latents `[b, c, l]`.
    sample_rate_hz : of `audio`.
    settings : how they were made, with what was left out filled in.
    prompts, seeds : one a clip.
    negative_prompt : of all clips.
    """

    frames: Any
    audio: Any
    sample_rate_hz: int
    settings: Settings
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    negative_prompt: str = ""

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.settings.fps
