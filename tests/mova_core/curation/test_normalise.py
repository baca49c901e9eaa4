"""Borders come off to the pixel, padding is equal on both sides, and times are kept to the frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mova_core.curation.normalise import BorderFinder, Box, fit_into, frames_on_screen
from mova_core.data.media import iter_frames

Still = Callable[..., np.ndarray]


def box_of(frames: np.ndarray, black_level: int = 24) -> Box:
    finder = BorderFinder(black_level)
    for frame in frames:
        finder.add(frame)
    return finder.box()


@pytest.mark.parametrize(
    ("top", "bottom", "left", "right"), [(0, 0, 0, 0), (12, 12, 0, 0), (0, 0, 9, 14), (7, 5, 3, 1), (1, 0, 0, 0)]
)
def test_borders_are_found_to_the_pixel_after_compression(
    tmp_path: Path, make_video: Callable[..., Path], still: Still, top: int, bottom: int, left: int, right: int
) -> None:
    picture = still(12, 60 - top - bottom, 80 - left - right)
    framed = np.pad(picture, ((0, 0), (top, bottom), (left, right), (0, 0)))
    path = make_video(tmp_path / "bordered.mp4", framed, None)
    decoded = np.stack([frame.pixels for frame in iter_frames(path)])
    found = box_of(decoded)
    # Colour is stored for 2 x 2 pixels: an odd border shares its last pixel's colour with the picture.
    for edge, expected in zip(
        (found.top, 60 - found.bottom, found.left, 80 - found.right), (top, bottom, left, right), strict=True
    ):
        assert edge == expected if expected % 2 == 0 else edge in (expected - 1, expected)


def test_a_scene_that_begins_dark_is_not_cropped(still: Still) -> None:
    frames = np.concatenate([np.zeros((10, 60, 80, 3), np.uint8), still(2)])
    frames[:10, 20:30, 20:30] = 255
    assert box_of(frames) == Box(0, 0, 80, 60)


def test_a_dark_film_is_left_alone() -> None:
    frames = np.full((3, 60, 80, 3), 10, np.uint8)
    assert box_of(frames) == Box(0, 0, 80, 60)
    frames[:, 30:34, 40:44] = 250
    assert box_of(frames) == Box(0, 0, 80, 60)


@given(st.integers(2, 400), st.integers(2, 400), st.sampled_from([(64, 64), (640, 352), (352, 640)]))
def test_the_fitted_picture_keeps_its_shape_and_is_padded_evenly(
    width: int, height: int, size: tuple[int, int]
) -> None:
    fit = fit_into(Box(0, 0, width, height), *size)
    inner = fit.picture
    assert inner.left == size[0] - inner.right
    assert inner.top == size[1] - inner.bottom
    across, down = inner.right - inner.left, inner.bottom - inner.top
    assert across == size[0] or down == size[1]
    scale = min(size[0] / width, size[1] / height)
    assert abs(across - width * scale) <= 2
    assert abs(down - height * scale) <= 2


def test_what_is_padded_is_black_and_what_is_kept_is_the_picture(still: Still) -> None:
    frame = still(1, 40, 80)[0]
    fit = fit_into(Box(0, 0, 80, 40), 64, 64)
    canonical = fit.apply(frame)
    assert canonical.shape == (64, 64, 3)
    assert not canonical[:16].any()
    assert not canonical[48:].any()
    assert fit.inner(canonical[None]).mean() == pytest.approx(frame.mean(), abs=1)


def test_equal_rates_show_every_frame_once() -> None:
    times = np.arange(100) / 24
    for first in (0, 1, 37):
        shown = frames_on_screen(times, times[first], 24.0, 33)
        assert shown.tolist() == list(range(first, first + 33))


def test_a_frame_that_stays_long_is_shown_until_the_next_one_comes() -> None:
    times = np.array([0.0, 1 / 24, 2 / 24, 2 / 24 + 1.0, 2 / 24 + 1.0 + 1 / 24])
    shown = frames_on_screen(times, 0.0, 24.0, 29)
    assert shown.tolist() == [0, 1] + [2] * 24 + [3, 4, 4]


@settings(max_examples=100, deadline=None)
@given(st.floats(8, 120), st.integers(0, 50), st.integers(0, 1000))
def test_each_canonical_frame_shows_what_is_on_screen_in_its_middle(fps: float, first: int, seed: int) -> None:
    steps = np.random.default_rng(seed).uniform(0.3, 2.0, 400) / fps
    times = np.cumsum(steps) - steps[0]
    start = float(times[first])
    for k, index in enumerate(frames_on_screen(times, start, 24.0, 33).tolist()):
        middle = start + (k + 0.5) / 24
        ends = times[index + 1] if index + 1 < times.size else math.inf
        assert times[index] <= middle < ends


def test_frames_decode_at_the_instants_they_were_written_for(
    tmp_path: Path, make_video: Callable[..., Path], still: Still
) -> None:
    """Each frame of a variable-rate file is told apart by its brightness; the canonical clip repeats them right."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.15, 40))
    times -= times[0]
    levels = np.linspace(40, 240, 40).round().astype(np.uint8)
    frames = np.repeat(levels, 32 * 32 * 3).reshape(40, 32, 32, 3)
    path = make_video(tmp_path / "variable.mp4", frames, None, seconds=list(times))
    decoded = list(iter_frames(path))
    assert [frame.seconds for frame in decoded] == pytest.approx(list(times), abs=1e-4)
    shown = frames_on_screen([frame.seconds for frame in decoded], 0.0, 24.0, 33)
    wanted = [int(np.flatnonzero(times <= (k + 0.5) / 24)[-1]) for k in range(33)]
    assert [int(decoded[index].pixels.mean().round()) for index in shown] == pytest.approx(
        levels[wanted].tolist(), abs=2
    )
