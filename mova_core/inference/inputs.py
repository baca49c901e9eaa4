"""What `generate` is given, checked before anything heavy starts; and first frames from picture files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mova_core.config.sampling import SolverName
from mova_core.errors import UserError

Pixels = NDArray[np.uint8]
TextOnly = Literal["white", "masked"]

WHITE = 255
MAX_SEED = 2**63 - 1
SIDE_MULTIPLE = 16  # the video codec's spatial stride, 8, times the tower's patch, 2
FRAME_MULTIPLE = 4  # the video codec's temporal stride


@dataclass(frozen=True)
class Settings:
    """How clips are generated.

    Attributes
    ----------
    num_steps : solver steps.
    text_guidance, bridge_guidance : s_T and s_B of dual guidance; 1 and 1 is one model evaluation a step.
    bridge : False keeps the towers apart throughout, whatever `bridge_guidance` says.
    height, width : pixels, multiples of 16.
    num_frames : 4k + 1.
    fps : frames a second of the clip; the Bridge aligns sound and picture by it.
    audio_text_guidance, audio_bridge_guidance : the sound's own; None takes those above for both.
    solver : see `mova_core.diffusion.solvers`.
    video_shift, audio_shift : of the noise schedule; None takes the checkpoint's own.
    text_only : without a first frame, a white picture stands in (report section 4), or no condition at all.
    compat : do as the release does, to compare with it: round noise levels, stretch pictures, and repeat its errors
        in the joint step (see `mova_core.models.dual_tower.DualTower.forward`).
    """

    num_steps: int
    text_guidance: float
    bridge_guidance: float
    bridge: bool
    height: int
    width: int
    num_frames: int
    fps: float
    audio_text_guidance: float | None = None
    audio_bridge_guidance: float | None = None
    solver: SolverName = "euler"
    video_shift: float | None = None
    audio_shift: float | None = None
    text_only: TextOnly = "white"
    compat: bool = False

    def __post_init__(self) -> None:
        """Raises `UserError` for a value that no model could use."""
        for name in ("height", "width", "num_frames", "num_steps"):
            if not isinstance(getattr(self, name), Integral):
                raise UserError(f"{name} is {getattr(self, name)!r}", expected="a whole number", remedy="name one")
        for name, value, multiple, rest in (
            ("height", self.height, SIDE_MULTIPLE, 0),
            ("width", self.width, SIDE_MULTIPLE, 0),
            ("num_frames", self.num_frames, FRAME_MULTIPLE, 1),
        ):
            if value <= 0 or value % multiple != rest:
                form = f"{multiple}k+{rest}" if rest else f"a multiple of {multiple}"
                below = max(value - (value - rest) % multiple, multiple + rest)
                raise UserError(f"{name} is {value}", expected=form, remedy=f"{below} is the nearest below")
        if self.num_steps < 1:
            raise UserError(f"num_steps is {self.num_steps}", expected="at least 1", remedy="25 is a good start")
        for name in ("text_guidance", "bridge_guidance", "audio_text_guidance", "audio_bridge_guidance"):
            scale = getattr(self, name)
            if scale is not None and not (_is_number(scale) and scale >= 0):
                raise UserError(f"{name} is {scale!r}", expected="a number of at least 0", remedy="1 switches it off")
        for name in ("video_shift", "audio_shift"):
            shift = getattr(self, name)
            if shift is not None and not (_is_number(shift) and shift > 0):
                raise UserError(f"{name} is {shift!r}", expected="a positive number", remedy="leave it out")
        for name, choices in (("solver", get_args(SolverName)), ("text_only", get_args(TextOnly))):
            chosen = getattr(self, name)
            if chosen not in choices:
                raise UserError(f"{name} is {chosen!r}", expected=f"one of {', '.join(choices)}", remedy="choose one")
        if not _is_number(self.fps) or self.fps <= 0:
            raise UserError(f"fps is {self.fps!r}", expected="a positive number", remedy="24 is what models train on")

    def num_samples(self, sample_rate_hz: int) -> int:
        """Audio samples of a clip: the duration of its frames, rounded to the nearest sample."""
        return round(self.num_frames / self.fps * sample_rate_hz)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def check_clips(prompts: Sequence[str], first_frames: Pixels | None, seeds: Sequence[int], settings: Settings) -> None:
    """Checks what is given clip by clip.

    Raises
    ------
    UserError : if the counts differ, a prompt is blank though guidance follows it, a seed is out of range, or the first
        frames are not uint8 RGB of the wanted size.
    """
    if not prompts:
        raise UserError("no prompt was given", expected="one a clip", remedy="describe what is seen and heard")
    if len(seeds) != len(prompts):
        raise UserError(
            f"{len(prompts)} prompts and {len(seeds)} seeds", expected="as many of each", remedy="give one seed a clip"
        )
    for index, prompt in enumerate(prompts):
        if not prompt.strip() and max(settings.text_guidance, settings.audio_text_guidance or 0) > 0:
            raise UserError(
                f"prompt {index} is empty",
                expected="words, since text_guidance is above 0",
                remedy="describe what is seen and heard, or set text_guidance to 0",
            )
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise UserError(f"seed {seed}", expected=f"0 to {MAX_SEED}", remedy="choose one in that range")
    if first_frames is None:
        return
    wanted = (len(prompts), settings.height, settings.width, 3)
    if first_frames.dtype != np.uint8 or first_frames.shape != wanted:
        raise UserError(
            f"first frames are {first_frames.dtype} of shape {first_frames.shape}",
            expected=f"uint8 of shape {wanted} (clip, height, width, RGB)",
            remedy="resize them with mova_core.inference.inputs.fit_frame",
        )


def white_frames(num_clips: int, settings: Settings) -> Pixels:
    """The stand-in for a first frame when there is only text: pure white (report section 4)."""
    return np.full((num_clips, settings.height, settings.width, 3), WHITE, np.uint8)


def read_first_frame(path: Path, height: int, width: int) -> Pixels:
    """A picture file as ``[height, width, 3]`` RGB: the largest centred part of that shape, scaled to it.

    Raises
    ------
    UserError : as `read_picture`.
    """
    return fit_frame(read_picture(path), height, width)


def read_picture(path: Path) -> Pixels:
    """A picture file as RGB ``[h, w, 3]`` in its own size; transparency is laid on white, as on a blank page.

    Raises
    ------
    UserError : if the file is absent or does not read as a picture.
    """
    import cv2

    content = np.fromfile(path, np.uint8) if path.is_file() else None
    if content is None or not content.size:
        raise UserError(f"no picture at {path}", expected="a PNG, JPEG or WebP file", remedy="check the path")
    try:
        decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        oriented = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if decoded is not None else None
    except cv2.error as error:
        raise _unreadable(path, str(error)) from error
    if decoded is None or oriented is None:
        raise _unreadable(path, "no known picture format")
    if decoded.ndim == 3 and decoded.shape[2] == 4 and decoded.dtype == np.uint8:
        alpha = decoded[..., 3:].astype(np.float32) / WHITE
        opaque = decoded[..., 2::-1].astype(np.float32)
        oriented = np.rint(opaque * alpha + WHITE * (1 - alpha)).astype(np.uint8)
    return np.asarray(oriented, np.uint8)


def fit_frame(frame: Pixels, height: int, width: int) -> Pixels:
    """The largest centred part of `frame` ``[h, w, 3]`` with the wanted aspect, scaled to ``[height, width, 3]``."""
    import cv2

    scale = max(height / frame.shape[0], width / frame.shape[1])
    rows = min(frame.shape[0], max(1, round(height / scale)))
    columns = min(frame.shape[1], max(1, round(width / scale)))
    top, left = (frame.shape[0] - rows) // 2, (frame.shape[1] - columns) // 2
    part = frame[top : top + rows, left : left + columns]
    if part.shape[:2] == (height, width):
        return np.ascontiguousarray(part)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def stretch_frame(frame: Pixels, height: int, width: int) -> Pixels:
    """All of `frame` ``[h, w, 3]``, stretched to ``[height, width, 3]`` as the release does it (Lanczos)."""
    from PIL import Image

    return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} does not read as a picture ({why})",
        expected="a PNG, JPEG or WebP file",
        remedy="open it in a picture editor and save it as PNG",
    )
