"""From noise to clean latents: the joint model under guidance, along a schedule, watched step by step.

All clips of a batch share the noise level, so one expert serves a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mova_core.diffusion.flow import Pair
from mova_core.diffusion.guidance import JointModel, guided_velocity
from mova_core.diffusion.schedule import PairedSchedule, Point
from mova_core.diffusion.solvers import SOLVERS, integrate
from mova_core.errors import UserError
from mova_core.inference.encoded import Encoded
from mova_core.inference.guiding import guidance_of
from mova_core.inference.inputs import Settings
from mova_core.inference.rows import rows_at_once
from mova_core.models.context import ContextMemory
from mova_core.models.dual_tower import DualTower


@dataclass(frozen=True)
class StepState:
    """Where sampling stands after a step.

    Attributes
    ----------
    index, num_steps : the step just done, from 0, and how many there are.
    point : the noise levels reached.
    latents : video `[b, c, F, h, w]` and audio `[b, c, l]` at these levels.
    denoised : the clean latents that the model expected at the start of the step, to preview.
    seconds, seconds_left : since the first step began, and to the end at this pace.
    """

    index: int
    num_steps: int
    point: Point
    latents: Pair
    denoised: Pair
    seconds: float
    seconds_left: float


OnStep = Callable[[StepState], Pair | None]
"""Called after each step; latents that it returns are gone on with."""


def denoise(
    model: DualTower, encoded: Encoded, settings: Settings, schedule: PairedSchedule, on_step: OnStep | None = None
) -> Pair:
    """Clean latents `[b, c, F, h, w]` and `[b, c, l]` of a batch.

    Raises
    ------
    UserError : after the first step that leaves numbers that are not finite.
    """
    schedule = encoded.known.schedule(schedule)
    velocity = GuidedVelocity(model, encoded, settings)
    started, done = time.monotonic(), 0

    def after_step(latents: Pair, point: Point) -> Pair:
        nonlocal done
        latents = encoded.known.put_back(latents, encoded.noise, point)
        _check_finite(latents, done)
        done += 1
        if on_step is not None:
            seconds = time.monotonic() - started
            left = seconds / done * (schedule.num_steps - done)
            state = StepState(done - 1, schedule.num_steps, point, latents, velocity.denoised(), seconds, left)
            changed = on_step(state)
            if changed is not None:
                _check_finite(changed, state.index)
                latents = encoded.known.put_back(changed, encoded.noise, point)
        return latents

    first = encoded.known.put_back(encoded.noise, encoded.noise, schedule.points[0])
    return integrate(velocity, first, schedule, SOLVERS[settings.solver](), after_step)


class GuidedVelocity:
    """The model as a solver calls it: the point's expert at the point's timesteps, under guidance."""

    def __init__(self, model: DualTower, encoded: Encoded, settings: Settings) -> None:
        self.model = model
        self.encoded = encoded
        self.fps = settings.fps
        self.as_released = settings.compat
        self.branches = guidance_of(settings, encoded.known).branches
        self.context = ContextMemory(model.audio_dit.product_dtype)
        self._seen: tuple[Pair, Point, Pair] | None = None

    def __call__(self, latents: Pair, point: Point) -> Pair:
        velocity = guided_velocity(
            self._model_at(point), latents, self.encoded.text, self.encoded.empty_text, self.branches
        )
        self._seen = (latents, point, velocity)
        return velocity

    def denoised(self) -> Pair:
        """The clean latents that the last evaluation implies: z - sigma v."""
        if self._seen is None:
            raise RuntimeError("nothing was evaluated yet")
        latents, point, velocity = self._seen
        return latents[0] - point.video_sigma * velocity[0], latents[1] - point.audio_sigma * velocity[1]

    def _model_at(self, point: Point) -> JointModel:
        """The model as guidance calls it.

        Samples with the Bridge and samples without run apart. One batch would compute the Bridge, a third of the nano
        model's work, for all of them and drop it for some.
        """
        condition, device = self.encoded.condition, self.encoded.condition.device
        expert = self.model.expert_at(point.video_timestep)
        video_timestep = torch.tensor([point.video_timestep], device=device)
        audio_timestep = torch.tensor([point.audio_timestep], device=device)

        def joint(
            video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int, /
        ) -> Pair:
            given = condition.repeat(copies, 1, 1, 1, 1)
            if isinstance(bridge, torch.Tensor):
                video_velocity, audio_velocity = torch.empty_like(video), torch.empty_like(audio)
                for switch in (False, True):
                    chosen = bridge == switch
                    video_velocity[chosen], audio_velocity[chosen] = evaluate(
                        video[chosen], given[chosen], audio[chosen], text[chosen], switch
                    )
                return video_velocity, audio_velocity
            return evaluate(video, given, audio, text, bridge)

        def evaluate(
            video: torch.Tensor, given: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: bool
        ) -> Pair:
            together = rows_at_once(self.model, video.shape[2:])
            starts = [slice(start, start + together) for start in range(0, len(video), together)]
            pairs = [evaluate_some(video[rows], given[rows], audio[rows], text[rows], bridge) for rows in starts]
            return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])

        def evaluate_some(
            video: torch.Tensor, given: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: bool
        ) -> Pair:
            velocities: Pair = self.model(
                video,
                given,
                audio,
                video_timestep,
                audio_timestep,
                self.context(text),
                expert=expert,
                bridge=bridge,
                video_fps=self.fps,
                as_released=self.as_released,
            )
            return velocities

        return joint


def _check_finite(latents: Pair, step: int) -> None:
    if not all(bool(part.isfinite().all()) for part in latents):
        raise UserError(
            f"the latents hold numbers that are not finite after step {step + 1}",
            expected="finite numbers",
            remedy="lower the guidance, or use another checkpoint: this one may not have finished training well",
        )
