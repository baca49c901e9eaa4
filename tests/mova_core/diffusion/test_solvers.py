"""Solving the differential equation of sampling."""

from __future__ import annotations

import math

import pytest
import torch

from mova_core.config.sampling import SolverName
from mova_core.diffusion.flow import Pair, shifted
from mova_core.diffusion.schedule import PairedSchedule, Point, paired_schedule
from mova_core.diffusion.solvers import SOLVERS, Euler, Multistep, integrate


def test_straight_paths_are_followed_exactly_whatever_the_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    clean_video, noise_video = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    clean_audio, noise_audio = torch.randn(2, 2, 5, generator=generator, dtype=torch.float64)
    velocity = (noise_video - clean_video, noise_audio - clean_audio)
    for num_steps in (1, 7):
        schedule = paired_schedule(num_steps, video_shift=5.0, audio_shift=2.0)
        video, audio = integrate(lambda latents, point: velocity, (noise_video, noise_audio), schedule, Euler())
        torch.testing.assert_close(video, clean_video)
        torch.testing.assert_close(audio, clean_audio)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("multistep", 2)])
def test_a_solver_converges_at_least_at_its_order_along_uneven_steps(solver: SolverName, order: int) -> None:
    """dz/ds = z cos(5 s) from z(1) = 1; half the step, at most 2 to the minus order the error."""
    start = (torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    exact = math.exp(-math.sin(5.0) / 5)
    errors = []
    for num_steps in (64, 128):
        # In even steps of u down to 0: the release's last step is longer, by an amount that stays as steps shrink.
        u = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
        levels = zip(u.tolist(), shifted(u, 3.0).tolist(), strict=True)
        schedule = PairedSchedule(tuple(Point(video, audio, 0.0, 0.0) for video, audio in levels))
        solved = integrate(
            lambda latents, point: (
                latents[0] * math.cos(5 * point.video_sigma),
                latents[1] * math.cos(5 * point.audio_sigma),
            ),
            start,
            schedule,
            SOLVERS[solver](),
        )
        errors.append([abs(part.item() - exact) for part in solved])
    for coarse, fine in zip(*errors, strict=True):
        assert coarse / fine > 0.9 * 2**order


def test_a_higher_order_costs_one_evaluation_a_step_and_needs_fewer_steps() -> None:
    """Two coupled modalities, as the Bridge couples them: 12 second-order steps beat 50 of first order."""

    def velocity(latents: Pair, point: Point) -> Pair:
        calls.append(point)
        video, audio = latents
        return torch.sin(3 * audio) + video * point.video_sigma, torch.cos(2 * video) - audio * point.audio_sigma

    def solved(solver: SolverName, num_steps: int) -> torch.Tensor:
        calls.clear()
        schedule = paired_schedule(num_steps, video_shift=2.0, audio_shift=2.0)
        found = torch.cat(integrate(velocity, start, schedule, SOLVERS[solver]()))
        assert len(calls) == num_steps
        return found

    calls: list[Point] = []
    start = (torch.tensor([0.3, -1.2], dtype=torch.float64), torch.tensor([0.9, 0.1], dtype=torch.float64))
    exact = solved("multistep", 2000)
    assert (solved("multistep", 12) - exact).norm() < (solved("euler", 50) - exact).norm()


def test_what_is_put_into_the_latents_is_not_undone_by_the_next_correction() -> None:
    """The velocity is 1 wherever it is asked, so corrections are nothing and only what was put in may move the end."""
    schedule = paired_schedule(4, video_shift=1.0, audio_shift=1.0)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    video, audio = integrate(
        lambda latents, point: (one, one),
        (zero, zero),
        schedule,
        Multistep(),
        after_step=lambda latents, point: (latents[0] + 10, latents[1]),
    )
    torch.testing.assert_close(video, 40 - one)
    torch.testing.assert_close(audio, -one)


def test_a_held_modality_stays_and_the_other_goes_on() -> None:
    schedule = paired_schedule(6, video_shift=5.0, audio_shift=2.0).held(video=True)
    start = (torch.full((1,), 0.7, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    for solver in SOLVERS.values():
        video, audio = integrate(lambda latents, point: (latents[0], latents[1]), start, schedule, solver())
        assert torch.equal(video, start[0])
        assert 0.3 < audio.item() < 0.5


def test_each_modality_moves_by_its_own_levels_and_the_model_hears_both() -> None:
    schedule = paired_schedule(3, video_shift=5.0, audio_shift=1.0)
    seen: list[Point] = []

    def evaluate(latents: Pair, point: Point) -> Pair:
        seen.append(point)
        return torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    zero = torch.zeros(1, dtype=torch.float64)
    reached: list[tuple[float, float]] = []

    def after_step(latents: Pair, point: Point) -> Pair:
        reached.append((latents[0].item(), latents[1].item()))
        return latents

    integrate(evaluate, (zero, zero), schedule, Euler(), after_step)
    assert seen == list(schedule.points[:-1])
    for (video, audio), point in zip(reached, schedule.points[1:], strict=True):
        torch.testing.assert_close(
            torch.tensor([video, audio]), torch.tensor([point.video_sigma, point.audio_sigma]) - 1
        )


def test_what_after_step_returns_goes_on() -> None:
    schedule = paired_schedule(4, video_shift=1.0, audio_shift=1.0)
    given = torch.full((1,), 42.0)
    video, _ = integrate(
        lambda latents, point: latents,
        (torch.ones(1), torch.ones(1)),
        schedule,
        Euler(),
        after_step=lambda latents, point: (given, latents[1]),
    )
    assert video is given
