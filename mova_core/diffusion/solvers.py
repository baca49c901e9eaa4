"""From noise to data along the predicted velocity, both modalities at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

from mova_core.diffusion.flow import Pair
from mova_core.diffusion.schedule import PairedSchedule, Point

Evaluate = Callable[[Pair, Point], Pair]
"""The velocities at given latents and noise levels."""


class Solver(Protocol):
    """One step of the ordinary differential equation; may evaluate more than once and may remember earlier steps."""

    def advance(self, evaluate: Evaluate, latents: Pair, start: Point, end: Point) -> Pair:
        """The latents at `end`, given those at `start`."""
        ...


class Euler:
    """First order, one evaluation a step."""

    def advance(self, evaluate: Evaluate, latents: Pair, start: Point, end: Point) -> Pair:
        video, audio = latents
        video_velocity, audio_velocity = evaluate(latents, start)
        return (
            video + (end.video_sigma - start.video_sigma) * video_velocity,
            audio + (end.audio_sigma - start.audio_sigma) * audio_velocity,
        )


def integrate(
    evaluate: Evaluate,
    noise: Pair,
    schedule: PairedSchedule,
    solver: Solver,
    after_step: Callable[[Pair, Point], Pair] | None = None,
) -> Pair:
    """Solves from `noise` at the schedule's first point to its last.

    Parameters
    ----------
    after_step : called with the latents and the point reached; what it returns goes on. It may put back what is given
        (a first frame at the point's noise level), or show progress.
    """
    latents = noise
    for start, end in pairwise(schedule.points):
        latents = solver.advance(evaluate, latents, start, end)
        if after_step is not None:
            latents = after_step(latents, end)
    return latents
