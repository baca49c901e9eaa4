"""Longer clips than a model makes at once: window after window, each continuing from the last frames before it.

A window begins with the last `overlap_frames` of what is there, pictures and sound, which are given to it; what it adds
is appended. Picture and sound stay on one clock: frame i is shown at i / fps, and the clip has exactly the samples of
its frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mova_core.errors import UserError
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.inputs import MAX_SEED, Pixels, Settings

Waveforms = NDArray[np.float32]
Generate = Callable[[ClipInputs], tuple[Pixels, Waveforms]]

DEFAULT_OVERLAP_FRAMES = 17


@dataclasses.dataclass(frozen=True)
class Extension:
    """How clips are extended.

    Attributes
    ----------
    num_frames : how many a clip is to have in the end.
    overlap_frames : 4k + 1, how many each window is given; more keep motion and sound steadier and cost time.
    settings : of a window.
    sample_rate_hz : of the sound.
    """

    num_frames: int
    overlap_frames: int
    settings: Settings
    sample_rate_hz: int

    def check(self, frames: Pixels, audio: Waveforms) -> None:
        """Holds what is to be extended against this.

        Raises
        ------
        UserError : if it is too short, too long or of other shapes.
        """
        settings, overlap = self.settings, self.overlap_frames
        if overlap % 4 != 1 or not 0 < overlap < settings.num_frames:
            raise UserError(
                f"overlap_frames is {overlap}",
                expected=f"4k+1, less than the {settings.num_frames} frames of a window",
                remedy=f"{min(DEFAULT_OVERLAP_FRAMES, settings.num_frames - 4)} is a good start",
            )
        wanted = (len(audio), len(frames[0]) if len(frames) else 0, settings.height, settings.width, 3)
        if frames.dtype != np.uint8 or frames.shape != wanted or frames.shape[1] < overlap:
            raise UserError(
                f"the clips to extend are {frames.dtype} of shape {frames.shape}",
                expected=f"uint8 {settings.height}x{settings.width} RGB, at least {overlap} frames, as many as sounds",
                remedy="resize them, or lower overlap_frames",
            )
        if audio.shape[1] != self.samples(frames.shape[1]):
            raise UserError(
                f"{frames.shape[1]} frames come with {audio.shape[1]} samples",
                expected=f"{self.samples(frames.shape[1])} at {self.sample_rate_hz} Hz",
                remedy="resample the sound, or cut it to the duration of the frames",
            )
        if self.num_frames <= frames.shape[1]:
            raise UserError(
                f"num_frames is {self.num_frames}",
                expected=f"more than the {frames.shape[1]} frames that are there",
                remedy="name the length of the whole clip",
            )

    def samples(self, num_frames: int) -> int:
        """Audio samples of so many frames."""
        return round(num_frames / self.settings.fps * self.sample_rate_hz)

    def window(self, frames: Pixels, audio: Waveforms, clips: ClipInputs, index: int) -> ClipInputs:
        """The inputs of the window after `frames` and `audio`."""
        overlap = self.overlap_frames
        start = self.samples(frames.shape[1] - overlap)
        # Rounding to whole samples may leave the stretch one short.
        sound = _of_length(audio[:, start:], self.samples(overlap))
        return dataclasses.replace(
            clips,
            seeds=[window_seed(seed, index) for seed in clips.seeds],
            start_frames=frames[:, -overlap:],
            start_audio=sound,
        )

    def appended(
        self, frames: Pixels, audio: Waveforms, new_frames: Pixels, new_audio: Waveforms
    ) -> tuple[Pixels, Waveforms]:
        """What is there, and after it what a window adds, cut to the wanted length."""
        start = self.samples(frames.shape[1] - self.overlap_frames)
        room = self.num_frames - frames.shape[1]
        longer = np.concatenate((frames, new_frames[:, self.overlap_frames :][:, :room]), axis=1)
        tail = _of_length(new_audio[:, audio.shape[1] - start :], self.samples(longer.shape[1]) - audio.shape[1])
        return longer, np.concatenate((audio, tail), axis=1)


def extended(
    generate: Generate, extension: Extension, frames: Pixels, audio: Waveforms, clips: ClipInputs
) -> tuple[Pixels, Waveforms]:
    """Frames `[b, num_frames, H, W, 3]` and waveforms that begin with the given ones, unchanged.

    Parameters
    ----------
    generate : makes a window from its inputs.
    clips : prompts and seeds.

    Raises
    ------
    UserError : as `Extension.check`.
    """
    extension.check(frames, audio)
    index = 0
    while frames.shape[1] < extension.num_frames:
        index += 1
        window = generate(extension.window(frames, audio, clips, index))
        frames, audio = extension.appended(frames, audio, *window)
    return frames, audio


def window_seed(seed: int, index: int) -> int:
    """The seed of a clip's window: other noise in each, the same whenever the clip is extended."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) & MAX_SEED


def _of_length(waveforms: Waveforms, length: int) -> Waveforms:
    missing = max(0, length - waveforms.shape[1])
    return np.pad(waveforms[:, :length], ((0, 0), (0, missing)), mode="edge")
