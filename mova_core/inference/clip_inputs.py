"""What clips are made from besides settings: prompts, seeds, and whatever of the clips is given. Loads no torch.

Axes: b clip, T pixel frame, S audio sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mova_core.errors import UserError
from mova_core.inference.inputs import Pixels, Settings, check_clips

Waveforms = NDArray[np.float32]

MODES = (
    "a first frame, a last frame, the whole video, the whole sound, or the start of both; "
    "the whole video or the start leave no room for another picture"
)


@dataclass(frozen=True)
class ClipInputs:
    """Some clips to be generated; each field has one entry a clip, where it is not None.

    Attributes
    ----------
    prompts : what is seen and heard.
    seeds : of the noise.
    negative_prompt : what to guide away from, for all clips; read only where guidance evaluates it.
    first_frames, last_frames : uint8 RGB `[b, H, W, 3]`.
    video : uint8 RGB `[b, T, H, W, 3]`, all frames: only the sound is generated (video to audio).
    audio : `[b, S]` in [-1, 1], the whole sound: only the picture is generated (audio to video).
    start_frames, start_audio : `[b, K, H, W, 3]` with K = 4k + 1, and `[b, s]`: what the clips continue from.
    """

    prompts: Sequence[str]
    seeds: Sequence[int]
    negative_prompt: str = ""
    first_frames: Pixels | None = None
    last_frames: Pixels | None = None
    video: Pixels | None = None
    audio: Waveforms | None = None
    start_frames: Pixels | None = None
    start_audio: Waveforms | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, chosen: slice) -> ClipInputs:
        """Some of the clips."""
        sliced = {
            field.name: value[chosen]
            for field in fields(self)
            if field.name != "negative_prompt" and (value := getattr(self, field.name)) is not None
        }
        return replace(self, **sliced)

    def check(self, settings: Settings, sample_rate_hz: int) -> None:
        """Holds the inputs against the settings.

        Parameters
        ----------
        sample_rate_hz : of the sound.

        Raises
        ------
        UserError : for counts, sizes, types or numbers that cannot work, and for givens that exclude each other.
        """
        check_clips(self.prompts, self.first_frames, self.seeds, settings)
        self._check_combination()
        _check_pixels("last frames", self.last_frames, (len(self), settings.height, settings.width, 3))
        _check_pixels("video", self.video, (len(self), settings.num_frames, settings.height, settings.width, 3))
        _check_waveforms("audio", self.audio, (len(self), settings.num_samples(sample_rate_hz)))
        if self.start_frames is not None and self.start_audio is not None:
            num_start = self.start_frames.shape[1] if self.start_frames.ndim > 1 else 0
            _check_start(num_start, settings)
            size = (settings.height, settings.width, 3)
            _check_pixels("start frames", self.start_frames, (len(self), num_start, *size))
            samples = dataclasses.replace(settings, num_frames=num_start).num_samples(sample_rate_hz)
            _check_waveforms("start audio", self.start_audio, (len(self), samples))

    def _check_combination(self) -> None:
        given = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        if len(given & {"start_frames", "start_audio"}) == 1:
            raise UserError(
                "the start of only one modality is given",
                expected="start frames and start audio together",
                remedy="give both",
            )
        alone = given & {"video", "start_frames"}
        others = given & {"first_frames", "last_frames", "video", "start_frames"} - alone
        if len(alone) > 1 or (alone and others) or {"video", "audio"} <= given or {"start_frames", "audio"} <= given:
            names = ", ".join(sorted(given - {"prompts", "seeds", "negative_prompt"}))
            raise UserError(f"{names} are given at once", expected=MODES, remedy="leave one out")


def _check_start(num_start: int, settings: Settings) -> None:
    if not 0 < num_start < settings.num_frames or num_start % 4 != 1:
        raise UserError(
            f"{num_start} start frames for a clip of {settings.num_frames}",
            expected=f"4k+1 of them, fewer than {settings.num_frames}",
            remedy="17 leave a clear view of motion",
        )


def _check_pixels(name: str, pixels: Pixels | None, wanted: tuple[int, ...]) -> None:
    if pixels is not None and (pixels.dtype != np.uint8 or pixels.shape != wanted):
        raise UserError(
            f"{name}: {pixels.dtype} of shape {pixels.shape}",
            expected=f"uint8 of shape {wanted}",
            remedy="resize or cut it to the clip's size and length",
        )


def _check_waveforms(name: str, waveforms: Waveforms | None, wanted: tuple[int, int]) -> None:
    if waveforms is None:
        return
    if not np.issubdtype(waveforms.dtype, np.floating) or waveforms.shape != wanted:
        raise UserError(
            f"{name}: {waveforms.dtype} of shape {waveforms.shape}",
            expected=f"floating point numbers of shape {wanted} (clip, sample at the audio codec's rate)",
            remedy="resample it, and cut it to the clip's length",
        )
    if not np.isfinite(waveforms).all():
        raise UserError(f"{name} holds numbers that are not finite", expected="values in [-1, 1]", remedy="mend it")
    if np.abs(waveforms).max(initial=0) > 1:
        raise UserError(
            f"{name} reaches {np.abs(waveforms).max():.3g}",
            expected="values in [-1, 1]",
            remedy="divide integers by their full scale, or lower the volume",
        )
