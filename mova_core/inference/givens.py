"""Reads the files that a clip is made from: pictures, a video or a sound to keep, a clip to go on from.

Axes: T frame, S sample. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.data.media import MediaError, frames_on_grid, iter_frames, read_audio
from mova_core.errors import UserError
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.extension import DEFAULT_OVERLAP_FRAMES, Extension
from mova_core.inference.inputs import FRAME_MULTIPLE, Pixels, Settings, fit_frame, read_first_frame
from mova_core.inference.request import ClipRequest, fitting_lengths

Waveform = NDArray[np.float32]

LEAST_SHARE = 0.99
"""Of a clip's sound: files end a little early by their codec's padding; the rest is silence."""
ONE_A_CLIP = ("first_frames", "last_frames", "video", "audio")
CHECKING_RATE_HZ = 48_000
"""Of sound that is read before the codec, whose rate counts, is there."""


@dataclass(frozen=True)
class Extended:
    """A clip to go on from, whole: `[1, T, H, W, 3]` in the new one's size and rate, `[1, S]`, and how it goes on."""

    frames: Pixels
    audio: Waveform
    extension: Extension

    @property
    def num_windows(self) -> int:
        """How many times the model is run."""
        added = self.extension.settings.num_frames - self.extension.overlap_frames
        return math.ceil((self.extension.num_frames - len(self.frames[0])) / added)


@dataclass(frozen=True)
class Givens:
    """One clip's files, read, with a leading axis of one clip."""

    first_frames: Pixels | None = None
    last_frames: Pixels | None = None
    video: Pixels | None = None
    audio: Waveform | None = None
    extended: Extended | None = None

    @property
    def num_windows(self) -> int:
        """How many times the model is run."""
        return 1 if self.extended is None else self.extended.num_windows


def read_givens(request: ClipRequest, settings: Settings, sample_rate_hz: int) -> Givens:
    """The files of `request`, in the clip's size, length and rates.

    Raises
    ------
    UserError : if one does not read, or is too short.
    """
    size = (settings.height, settings.width)
    num_samples = settings.num_samples(sample_rate_hz)
    return Givens(
        first_frames=None if request.image is None else read_first_frame(request.image, *size)[None],
        last_frames=None if request.last_image is None else read_first_frame(request.last_image, *size)[None],
        video=None if request.video is None else _read_video(request.video, settings)[None],
        audio=None if request.audio is None else _read_sound(request.audio, num_samples, sample_rate_hz)[None],
        extended=None if request.extend is None else _read_extended(request, settings, sample_rate_hz),
    )


def clip_inputs(requests: Sequence[ClipRequest], prompts: Sequence[str], givens: Sequence[Givens]) -> ClipInputs:
    """Clips as the pipeline takes them: of one negative prompt and the same kinds of files, in one size."""
    found = {name: [getattr(given, name) for given in givens] for name in ONE_A_CLIP}
    return ClipInputs(
        prompts=list(prompts),
        seeds=[request.seed for request in requests],
        negative_prompt=requests[0].negative_prompt,
        **{name: np.concatenate(values) for name, values in found.items() if values[0] is not None},
    )


def check_request(request: ClipRequest, settings: Settings) -> int:
    """Whether the clip can be made, as far as that shows before a model is loaded; how many times the model is to run.

    Raises
    ------
    UserError : if not.
    """
    for name, path in request.given().items():
        if not path.is_file():
            raise UserError(f"{name}: no file at {path}", expected="a file", remedy="check the path")
    if not request.prompt.strip():
        raise UserError("the prompt is empty", expected="words", remedy="describe what is seen and heard")
    if request.extend is not None and len(request.given()) > 1:
        raise UserError(
            f"{', '.join(sorted(request.given()))} are given at once",
            expected="extend alone, which begins with the clip that it is given",
            remedy="leave the others out",
        )
    if request.total_seconds is not None and request.extend is None:
        raise UserError("total_seconds is given without extend", expected="both", remedy="use seconds instead")
    givens = read_givens(request, settings, CHECKING_RATE_HZ)
    clip_inputs([request], [request.prompt], [givens]).check(settings, CHECKING_RATE_HZ)
    if givens.extended is not None:
        givens.extended.extension.check(givens.extended.frames, givens.extended.audio)
    return givens.num_windows


def _read_video(path: Path, settings: Settings) -> Pixels:
    frames = _frames(path, settings, settings.num_frames)
    if len(frames) < settings.num_frames:
        raise _too_short(path, f"{len(frames)} frames at {settings.fps:g} fps", settings.num_frames, len(frames))
    return np.stack(frames)


def _read_sound(path: Path, num_samples: int, sample_rate_hz: int) -> Waveform:
    try:
        sound = read_audio(path, sample_rate_hz)
    except (MediaError, OSError) as error:
        raise _unreadable(path, error, "a file with sound (WAV, FLAC, MP3, MP4, …)") from error
    if sound.size < LEAST_SHARE * num_samples:
        fits = int(sound.size / sample_rate_hz * 10) / 10
        raise UserError(
            f"{path} sounds for {sound.size / sample_rate_hz:.2f} s",
            expected=f"at least {num_samples / sample_rate_hz:.2f} s, the clip's length",
            remedy=f"use a longer one, or ask for a shorter clip (--seconds {fits})",
        )
    return np.pad(sound[:num_samples], (0, max(num_samples - sound.size, 0)))


def _read_extended(request: ClipRequest, settings: Settings, sample_rate_hz: int) -> Extended:
    path, overlap = request.extend, min(DEFAULT_OVERLAP_FRAMES, settings.num_frames - FRAME_MULTIPLE)
    assert path is not None
    frames = _frames(path, settings, None)
    if len(frames) < overlap:
        raise _too_short(path, f"{len(frames)} frames at {settings.fps:g} fps", overlap, 0)
    try:
        audio = read_audio(path, sample_rate_hz, 0.0, len(frames) / settings.fps)
    except MediaError as error:
        raise _unreadable(path, error, "a clip with sound") from error
    total = len(frames) + settings.num_frames - overlap
    if request.total_seconds is not None:
        total = round(request.total_seconds * settings.fps)
    extension = Extension(total, overlap, settings, sample_rate_hz)
    return Extended(np.stack(frames)[None], audio[None], extension)


def _frames(path: Path, settings: Settings, most: int | None) -> list[Pixels]:
    """Frames of a file at the clip's rate and size, at most so many."""
    try:
        shown = frames_on_grid(iter_frames(path), settings.fps, num_frames=most)
        return [fit_frame(frame, settings.height, settings.width) for frame in shown]
    except (MediaError, OSError) as error:
        raise _unreadable(path, error, "a video file") from error


def _unreadable(path: Path, error: Exception, expected: str) -> UserError:
    return UserError(f"{path} does not read ({error})", expected=expected, remedy="check that it plays")


def _too_short(path: Path, found: str, wanted: int, fits: int) -> UserError:
    lengths = fitting_lengths(fits)
    shorter = f", or ask for a shorter clip (--frames {lengths[0]})" if lengths else ""
    return UserError(f"{path} shows {found}", expected=f"at least {wanted}", remedy=f"use a longer one{shorter}")
