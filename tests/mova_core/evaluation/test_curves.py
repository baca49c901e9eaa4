"""Instants read off curves with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from mova_core.evaluation.curves import corners, rises, smoothed


def leaps(curve: np.ndarray, rate_hz: float = 1.0, min_gap_seconds: float = 0.0) -> np.ndarray:
    return rises(curve, rate_hz, base=0.0, min_share=0.3, min_ratio=2.0, min_gap_seconds=min_gap_seconds)


def test_a_ramp_is_dated_halfway_up_between_samples() -> None:
    curve = np.interp(np.arange(20), [0, 6.5, 8.5, 19], [0, 0, 1, 1])
    assert leaps(curve, 10.0) == pytest.approx([0.75])


def test_ripples_on_something_loud_are_no_leaps() -> None:
    samples = np.arange(60)
    curve = np.where(samples >= 25, 5.0 + np.sin(samples), 0.01)
    assert len(leaps(curve)) == 1


def test_a_leap_in_steps_is_dated_at_its_first_crossing() -> None:
    curve = np.array([0.0, 0, 0, 6, 5, 6, 8, 5, 9, 9, 0, 0])
    assert leaps(curve) == pytest.approx([2.75])


def test_a_leap_onto_a_faded_remainder_counts_and_one_onto_half_does_not() -> None:
    faded = np.concatenate([[0.0], np.exp(-np.arange(10) / 4), 1 + np.zeros(3)])
    half = np.concatenate([[0.0], np.exp(-np.arange(3) / 6), 1 + np.zeros(3)])
    assert len(leaps(faded)) == 2
    assert len(leaps(half)) == 1


def test_what_stays_far_below_the_highest_peak_is_no_leap() -> None:
    curve = np.zeros(30)
    curve[5:8], curve[15:18] = 1.0, 0.2
    assert leaps(curve) == pytest.approx([4.5])


def test_a_leap_that_the_end_cuts_short_still_counts() -> None:
    assert leaps(np.array([0.0, 0, 0, 1])) == pytest.approx([2.5])


def test_of_two_leaps_too_close_the_larger_stays() -> None:
    curve = np.array([0.0, 2, 0, 3, 0, 0, 0, 0, 0, 2, 0])
    assert leaps(curve, min_gap_seconds=3.0) == pytest.approx([2.5, 8.5])


def test_a_curve_that_never_leaves_its_base_has_no_leap() -> None:
    assert len(leaps(np.zeros(12))) == 0


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
