"""Joining given and generated stretches of a clip, so that what was given comes out as it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.inputs import Pixels

Waveforms = NDArray[np.float32]

SEAM_SECONDS = 0.02
"""How long a step between the given and the generated sound is spread."""


def with_given_start(
    clips: ClipInputs, frames: Pixels, audio: Waveforms, sample_rate_hz: int
) -> tuple[Pixels, Waveforms]:
    """Frames `[b, T, H, W, 3]` and waveforms `[b, S]` that begin with the given start, where there is one.

    The generated sound is led from the last given sample to its own course over `SEAM_SECONDS`: a codec gives the start
    back nearly, and the difference would be heard as a click.
    """
    if clips.start_frames is None or clips.start_audio is None:
        return frames, audio
    frames, audio = frames.copy(), audio.copy()
    frames[:, : clips.start_frames.shape[1]] = clips.start_frames
    num_given = clips.start_audio.shape[1]
    num_faded = min(round(SEAM_SECONDS * sample_rate_hz), audio.shape[1] - num_given)
    step = clips.start_audio[:, -1:] - audio[:, num_given - 1 : num_given]
    fade = np.linspace(1, 0, num_faded, endpoint=False, dtype=np.float32)
    audio[:, :num_given] = clips.start_audio
    audio[:, num_given : num_given + num_faded] += step * fade
    return frames, np.clip(audio, -1, 1)
