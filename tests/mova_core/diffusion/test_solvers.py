"""Solving the differential equation of sampling."""

from __future__ import annotations

import torch

from mova_core.diffusion.flow import Pair
from mova_core.diffusion.schedule import Point, paired_schedule
from mova_core.diffusion.solvers import Euler, integrate


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


def test_euler_converges_at_first_order() -> None:
    """dz/ds = z has the solution z(0) = z(1) / e; halving the step halves the error."""
    start = (torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    errors = []
    for num_steps in (64, 128):
        schedule = paired_schedule(num_steps, video_shift=1.0, audio_shift=1.0)
        video, _ = integrate(lambda latents, point: latents, start, schedule, Euler())
        errors.append(abs(video.item() - torch.tensor(-1.0, dtype=torch.float64).exp().item()))
    assert 1.9 < errors[0] / errors[1] < 2.1


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
