"""Blur grows with blurring, motion with change, and burned-in text is told from what is filmed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mova_core.scorers.picture import OverlayFinder, blur, luma, motion


def scene(seed: int) -> np.ndarray:
    """A sharp picture of coloured rectangles, ``[60, 80, 3]``."""
    generator = np.random.default_rng(seed)
    picture = np.full((60, 80, 3), generator.integers(40, 220, 3), np.uint8)
    for _ in range(6):
        x, y = generator.integers(0, 70), generator.integers(0, 50)
        picture[y : y + 14, x : x + 16] = generator.integers(0, 255, 3)
    return picture


def test_blur_grows_with_the_blur() -> None:
    sharp = scene(0)
    scores = [blur(luma(sharp[None]))]
    for deviation in (1.0, 2.0, 4.0):
        scores.append(blur(luma(cv2.GaussianBlur(sharp, (0, 0), deviation)[None])))
    assert scores == sorted(scores)
    assert scores[0] < 0.35
    assert scores[-1] > 0.75


def test_a_picture_of_one_colour_is_all_blur() -> None:
    assert blur(np.full((2, 20, 20), 7, np.float32)) == 1.0


def test_motion_is_the_mean_change() -> None:
    pictures = np.zeros((5, 10, 10), np.float32)
    assert motion(pictures) == 0.0
    pictures[2:] = 8.0
    assert motion(pictures) == pytest.approx(2.0)
    assert motion(pictures[:1]) == 0.0


def overlay_score(frames: list[np.ndarray]) -> float:
    finder = OverlayFinder()
    for frame in frames:
        finder.add(frame)
    return finder.score()


def test_text_over_changing_scenes_is_found_and_scenes_alone_are_not() -> None:
    scenes = [scene(seed) for seed in range(6)]
    assert overlay_score(scenes) < 0.05
    for frame in scenes:
        cv2.putText(frame, "BREAKING", (4, 52), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3)
        cv2.putText(frame, "BREAKING", (4, 52), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    assert overlay_score(scenes) > 0.15


def test_no_frame_no_text() -> None:
    assert OverlayFinder().score() == 0.0
