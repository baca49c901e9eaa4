"""One clip as a person asks for it: on the command line, or as a line of a prompts file. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mova_core.config.sampling import SolverName
from mova_core.errors import UserError
from mova_core.files import sha256_of_file
from mova_core.inference.inputs import FRAME_MULTIPLE, Settings

SETTINGS = {
    "height": "height",
    "width": "width",
    "frames": "num_frames",
    "fps": "fps",
    "steps": "num_steps",
    "solver": "solver",
    "text_guidance": "text_guidance",
    "bridge_guidance": "bridge_guidance",
    "audio_text_guidance": "audio_text_guidance",
    "audio_bridge_guidance": "audio_bridge_guidance",
    "video_shift": "video_shift",
    "audio_shift": "audio_shift",
    "first_frame": "text_only",
}
"""Fields of `ClipRequest` -> fields of `Settings`."""
GIVEN = ("image", "last_image", "video", "audio", "extend")
"""Fields of `ClipRequest` that name files."""


class ClipRequest(BaseModel):
    """What a clip is to be. None takes what the checkpoint is meant to be used with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field("", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$", description="the clip's file name without .mp4")
    prompt: str = Field("", description="what is seen and heard")
    negative_prompt: str = Field("", description="what to guide away from")
    image: Path | None = Field(None, description="the first frame")
    last_image: Path | None = Field(None, description="the last frame")
    video: Path | None = Field(None, description="all frames; only the sound is generated")
    audio: Path | None = Field(None, description="all of the sound; only the picture is generated")
    extend: Path | None = Field(None, description="a clip to go on from")
    seed: int = Field(0, description="another seed is another clip")
    height: int | None = Field(None, description="pixels, a multiple of 16")
    width: int | None = Field(None, description="pixels, a multiple of 16")
    frames: int | None = Field(None, description="4k + 1")
    seconds: float | None = Field(None, description="instead of frames: the nearest length that can be")
    total_seconds: float | None = Field(None, description="with extend: how long the whole clip is to become")
    fps: float | None = Field(None, description="frames a second")
    steps: int | None = Field(None, description="solver steps")
    solver: SolverName | None = None
    text_guidance: float | None = Field(None, description="how closely the prompt is followed")
    bridge_guidance: float | None = Field(None, description="how closely picture and sound follow each other")
    audio_text_guidance: float | None = Field(None, description="of the sound's own")
    audio_bridge_guidance: float | None = Field(None, description="of the sound's own")
    video_shift: float | None = Field(None, description="of the noise schedule")
    audio_shift: float | None = Field(None, description="of the noise schedule")
    first_frame: Literal["white", "masked"] | None = Field(None, description="what stands in where no image is given")

    def settings(self, defaults: Settings) -> Settings:
        """The settings of this clip.

        Raises
        ------
        UserError : for a value that no model could use.
        """
        asked = {own: value for name, own in SETTINGS.items() if (value := getattr(self, name)) is not None}
        fps = asked.get("fps", defaults.fps)
        if self.total_seconds is not None and not 0 < self.total_seconds < float("inf"):
            raise UserError(f"total_seconds is {self.total_seconds}", expected="a positive number", remedy="mend it")
        if self.seconds is not None:
            if self.frames is not None:
                raise UserError("frames and seconds are both given", expected="one of them", remedy="leave one out")
            asked["num_frames"] = frames_in(self.seconds, fps)
        return dataclasses.replace(defaults, **asked)

    def given(self) -> dict[str, Path]:
        """The files that it names."""
        return {name: path for name in GIVEN if (path := getattr(self, name)) is not None}

    def described(self) -> dict[str, Any]:
        """Its words, seed, and files by name and content: what, with the settings, decides the clip."""
        return {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "seed": self.seed,
            "given": {name: {"file": path.name, "sha256": sha256_of_file(path)} for name, path in self.given().items()},
        }

    def beside(self, folder: Path) -> ClipRequest:
        """The same, with its relative paths taken from `folder`."""
        return self.model_copy(update={name: folder / path for name, path in self.given().items()})


def frames_in(seconds: float, fps: float) -> int:
    """The frame count 4k + 1 nearest to a duration; at least 1.

    Raises
    ------
    UserError : if the duration is not positive, or endless.
    """
    if not 0 < seconds < float("inf"):
        raise UserError(f"seconds is {seconds}", expected="a positive number", remedy="8 suits the released models")
    return max(round((seconds * fps - 1) / FRAME_MULTIPLE), 0) * FRAME_MULTIPLE + 1


def fitting_lengths(num_frames: int) -> Sequence[int]:
    """Frame counts 4k + 1 that `num_frames` frames are enough for, the longest first; at most one."""
    return [num_frames - (num_frames - 1) % FRAME_MULTIPLE] if num_frames > 0 else []
