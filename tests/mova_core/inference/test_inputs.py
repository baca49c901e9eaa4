"""Bad input fails at once, in one line that names the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mova_core.errors import UserError
from mova_core.inference.inputs import Settings, check_clips, fit_frame, read_first_frame, white_frames

SETTINGS = Settings(
    num_steps=4, text_guidance=2.0, bridge_guidance=1.0, bridge=True, height=32, width=48, num_frames=9, fps=24.0
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 40}, r"height is 40; expected a multiple of 16; 32 is the nearest below"),
        ({"width": 0}, r"width is 0; expected a multiple of 16; 16 is the nearest below"),
        ({"num_frames": 32}, r"num_frames is 32; expected 4k\+1; 29 is the nearest below"),
        ({"num_frames": -3}, r"num_frames is -3"),
        ({"num_steps": 0}, r"num_steps is 0; expected at least 1"),
        ({"text_guidance": -0.5}, r"text_guidance is -0.5; expected a number of at least 0"),
        ({"bridge_guidance": float("nan")}, r"bridge_guidance is nan"),
        ({"fps": 0.0}, r"fps is 0.0"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(
    ("prompts", "frames", "seeds", "message"),
    [
        ([], None, [], "no prompt was given"),
        (["a lamp"], None, [1, 2], "1 prompts and 2 seeds"),
        (["a lamp", " \n"], None, [1, 2], "prompt 1 is empty"),
        (["a lamp"], None, [-1], "seed -1"),
        (
            ["a lamp"],
            np.zeros((1, 48, 32, 3), np.uint8),
            [1],
            r"shape \(1, 48, 32, 3\); expected uint8 of shape \(1, 32, 48",
        ),
        (["a lamp"], np.zeros((1, 32, 48, 3), np.float32), [1], "first frames are float32"),
    ],
)
def test_clips_that_do_not_fit_the_settings_are_refused(
    prompts: list[str], frames: np.ndarray | None, seeds: list[int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_clips(prompts, frames, seeds, SETTINGS)


def test_an_empty_prompt_is_right_where_the_text_is_not_followed() -> None:
    check_clips([""], white_frames(1, SETTINGS), [0], replace(SETTINGS, text_guidance=0.0))


def test_a_picture_is_cropped_about_its_centre_and_scaled(tmp_path: Path) -> None:
    picture = np.zeros((200, 64, 3), np.uint8)
    picture[84:116] = (250, 120, 10)
    path = tmp_path / "tall.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    frame = read_first_frame(path, 16, 32)
    assert frame.shape == (16, 32, 3)
    np.testing.assert_array_equal(frame, np.broadcast_to(np.uint8([250, 120, 10]), frame.shape))


def test_a_picture_of_the_right_size_comes_back_untouched(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    path = tmp_path / "exact.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    np.testing.assert_array_equal(read_first_frame(path, 32, 48), picture)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    cv2.imwrite(str(path), np.zeros((16, 16, 4), np.uint8))
    np.testing.assert_array_equal(read_first_frame(path, 16, 16), np.full((16, 16, 3), 255, np.uint8))


def test_grey_and_tiny_pictures_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), np.full((1, 1), 77, np.uint8))
    np.testing.assert_array_equal(read_first_frame(path, 16, 32), np.full((16, 32, 3), 77, np.uint8))


@pytest.mark.parametrize("content", [None, b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "frame.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"frame.png.*expected a PNG, JPEG or WebP"):
        read_first_frame(path, 16, 16)


def test_an_extreme_aspect_still_gives_the_wanted_size() -> None:
    assert fit_frame(np.zeros((1, 1000, 3), np.uint8), 32, 16).shape == (32, 16, 3)
