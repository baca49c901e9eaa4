"""Paired schedules: exact levels, one shift a modality, ending at zero."""

from __future__ import annotations

import itertools

import pytest

from mova_core.diffusion.schedule import SIGMA_MIN, Point, paired_schedule, snapped_as_released, training_grid


def test_levels_are_the_shifted_grid_exactly() -> None:
    schedule = paired_schedule(5, video_shift=5.0, audio_shift=2.0)
    assert schedule.num_steps == 5
    for step, point in enumerate(schedule.points[:-1]):
        u = 1 - (1 - SIGMA_MIN) * step / 5
        assert point.video_sigma == pytest.approx(5 * u / (1 + 4 * u), rel=1e-14)
        assert point.audio_sigma == pytest.approx(2 * u / (1 + u), rel=1e-14)
        assert point.video_timestep == pytest.approx(1000 * point.video_sigma, rel=1e-14)
        assert point.audio_timestep == pytest.approx(1000 * point.audio_sigma, rel=1e-14)


@pytest.mark.parametrize("num_steps", [1, 2, 25, 50])
@pytest.mark.parametrize("extra_one_step", [True, False])
def test_it_falls_from_noise_to_zero(num_steps: int, extra_one_step: bool) -> None:
    points = paired_schedule(num_steps, video_shift=5.0, audio_shift=1.0, extra_one_step=extra_one_step).points
    assert points[0] == Point(1.0, 1.0, 1000.0, 1000.0)
    assert points[-1] == Point(0.0, 0.0, 0.0, 0.0)
    for before, after in itertools.pairwise(points):
        assert after.video_sigma < before.video_sigma
        assert after.audio_sigma < before.audio_sigma


def test_less_strength_starts_nearer_to_the_data() -> None:
    assert paired_schedule(4, video_shift=1.0, audio_shift=1.0, strength=0.5).points[0].video_sigma == pytest.approx(
        (1 + SIGMA_MIN) / 2
    )


def test_snapping_moves_levels_to_the_grid_and_leaves_timesteps() -> None:
    exact = paired_schedule(8, video_shift=5.0, audio_shift=1.0)
    grid = training_grid(5.0)
    snapped = snapped_as_released(exact, grid)
    assert [p.audio_timestep for p in snapped.points] == [p.audio_timestep for p in exact.points]
    errors = [abs(a.audio_sigma - b.audio_sigma) for a, b in zip(snapped.points, exact.points, strict=True)]
    assert 1e-4 < max(errors) < 2.3e-3
    assert all(p.audio_sigma in set(grid.tolist()) for p in snapped.points[:-1])
    assert snapped.points[-1].video_sigma == 0.0


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="num_steps is 0"):
        paired_schedule(0, video_shift=1.0, audio_shift=1.0)
