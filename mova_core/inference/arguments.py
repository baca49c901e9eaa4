"""From what people pass (paths, pictures, one or many) to one entry a clip."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mova_core.errors import UserError
from mova_core.inference.inputs import MAX_SEED, Pixels, Settings, fit_frame, read_picture, stretch_frame

if TYPE_CHECKING:
    import torch


class PillowImage(Protocol):
    """What is used of a PIL.Image."""

    def convert(self, mode: str) -> Any:
        """The picture in another mode."""
        ...


Picture = str | Path | NDArray[np.uint8] | PillowImage
"""A file, RGB of any size `[h, w, 3]`, or a Pillow image."""


def prompts_of(prompt: str | Sequence[str], num_videos_per_prompt: int) -> list[str]:
    """One prompt a clip: the videos of a prompt stand side by side.

    Raises
    ------
    UserError : if there is to be no video of a prompt, or a prompt is no text.
    """
    if num_videos_per_prompt < 1:
        raise UserError(
            f"num_videos_per_prompt is {num_videos_per_prompt}", expected="at least 1", remedy="leave it out for one"
        )
    prompts: list[Any] = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
    for each in prompts:
        if not isinstance(each, str):
            raise UserError(f"prompt is {each!r}", expected="a text, or a list of them", remedy="write it as text")
    return [each for each in prompts for _ in range(num_videos_per_prompt)]


def pictures_of(
    name: str, pictures: Picture | Sequence[Picture] | None, num_clips: int, settings: Settings
) -> Pixels | None:
    """`[num_clips, height, width, 3]`: one picture for all clips, or as many as there are prompts.

    Raises
    ------
    UserError : if one does not read, is no RGB picture, or the counts do not fit.
    """
    if pictures is None:
        return None
    several = isinstance(pictures, list | tuple) or (isinstance(pictures, np.ndarray) and pictures.ndim == 4)
    listed: list[Any] = list(pictures) if several else [pictures]  # type: ignore[arg-type]  # several of them
    if not listed or num_clips % len(listed):
        raise UserError(
            f"{name}: {len(listed)} pictures for {num_clips} clips", expected="one, or one a prompt", remedy="give that"
        )
    fit = stretch_frame if settings.compat else fit_frame
    read = [fit(_picture(name, picture), settings.height, settings.width) for picture in listed]
    return np.repeat(np.stack(read), num_clips // len(listed), axis=0)


def seeds_of(
    seed: int | Sequence[int] | None, generator: torch.Generator | Sequence[torch.Generator] | None, num_clips: int
) -> list[int]:
    """One seed a clip.

    Parameters
    ----------
    seed : one number gives the clips this seed, the next, and so on; None draws one at random.
    generator : of torch, one or one a clip; seeds are drawn from it, so using it again gives other clips.

    Raises
    ------
    UserError : if both are given, or a seed is no whole number.
    """
    if seed is not None and generator is not None:
        raise UserError("both a seed and a generator are given", expected="one of them", remedy="leave one out")
    if generator is not None:
        return _drawn(generator, num_clips)
    if seed is None:
        seed = secrets.randbelow(2**32)
    one = not isinstance(seed, list | tuple | np.ndarray)
    listed: list[Any] = [seed] if one else list(seed)  # type: ignore[arg-type]  # several of them
    for each in listed:
        if not isinstance(each, int | np.integer):
            raise UserError(f"seed is {each!r}", expected="a whole number, or one a clip", remedy="name one")
    seeds = [int(each) for each in listed]
    return [seeds[0] + index for index in range(num_clips)] if one else seeds


def _drawn(generator: torch.Generator | Sequence[torch.Generator], num_clips: int) -> list[int]:
    import torch

    generators = [generator] * num_clips if isinstance(generator, torch.Generator) else list(generator)
    return [
        int(torch.randint(MAX_SEED, (1,), generator=each, device=each.device, dtype=torch.int64)) for each in generators
    ]


def _picture(name: str, picture: Picture) -> Pixels:
    if isinstance(picture, str | Path):
        return read_picture(Path(picture))
    pixels = np.asarray(picture if isinstance(picture, np.ndarray) else picture.convert("RGB"))
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(
            f"{name}: {pixels.dtype} of shape {pixels.shape}",
            expected="a file, a Pillow image, or uint8 RGB of shape (height, width, 3)",
            remedy="convert it",
        )
    return pixels
