"""Instants read off curves with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from mova_core.evaluation.curves import corners, rises, smoothed


def test_a_ramp_is_dated_between_samples() -> None:
    curve = np.interp(np.arange(20), [0, 6.5, 8.5, 19], [0, 0, 1, 1])
    assert rises(curve, 10.0, min_height=0.5, level=0.5, min_gap_seconds=0.0) == pytest.approx([0.75])
    assert rises(curve, 10.0, min_height=0.5, level=0.25, min_gap_seconds=0.0) == pytest.approx([0.70])


def test_wiggles_below_the_height_are_no_events() -> None:
    curve = 0.2 * np.sin(np.arange(50)) + np.where(np.arange(50) >= 25, 5.0, 0.0)
    assert len(rises(curve, 10.0, min_height=1.0, level=0.5, min_gap_seconds=0.0)) == 1
    assert len(rises(curve, 10.0, min_height=6.0, level=0.5, min_gap_seconds=0.0)) == 0


def test_a_climb_that_the_end_cuts_short_still_counts() -> None:
    assert rises(np.array([0.0, 0, 0, 1]), 1.0, min_height=0.5, level=0.5, min_gap_seconds=0.0) == pytest.approx([2.5])


def test_of_two_climbs_too_close_the_larger_stays() -> None:
    curve = np.array([0.0, 2, 0, 3, 0, 0, 0, 0, 0, 2, 0])
    assert rises(curve, 1.0, min_height=1.0, level=0.5, min_gap_seconds=3.0) == pytest.approx([2.5, 8.5])


@pytest.mark.parametrize("corner", [7.0, 7.25, 7.5, 7.9])
def test_a_corner_is_dated_where_its_sides_meet(corner: float) -> None:
    curve = 10 - np.abs(np.arange(16) - corner)
    assert corners(curve, 4.0, min_height=2.0) == pytest.approx([corner / 4])


def test_smoothing_keeps_length_level_and_place() -> None:
    curve = np.where(np.arange(41) == 20, 1.0, 0.0)
    result = smoothed(curve, 7)
    assert len(result) == 41
    assert result.argmax() == 20
    assert result.sum() == pytest.approx(1.0)
    assert smoothed(np.full(9, 3.0), 5) == pytest.approx(np.full(9, 3.0))
