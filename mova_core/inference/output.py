"""What a pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mova_core.errors import UserError
from mova_core.inference.inputs import Pixels, Settings

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


def check_output_type(output_type: str) -> None:
    """Raises `UserError` for a type that there is not."""
    if output_type not in get_args(OutputType):
        choices = ", ".join(get_args(OutputType))
        raise UserError(f"output_type is {output_type!r}", expected=f"one of {choices}", remedy="choose one")


def as_asked(frames: Pixels, audio: NDArray[np.float32], output_type: OutputType) -> tuple[Any, Any]:
    """Decoded clips as `MovaOutput` has them: arrays, or with ``pt`` tensors."""
    if output_type == "np":
        return frames, audio
    return torch.from_numpy(frames).movedim(-1, 2).float() / 255, torch.from_numpy(audio)
