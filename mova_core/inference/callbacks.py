"""Diffusers' `callback_on_step_end`, on top of the step states of `mova_core.inference.denoising`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mova_core.inference.denoising import OnStep, StepState

Pipeline = TypeVar("Pipeline")

StepEnd = Callable[[Pipeline, int, float, dict[str, Any]], Mapping[str, Any] | None]
"""Called as `callback(pipeline, step, timestep, values)` after each step.

`timestep` is the video's, 0..1000. `values` holds `latents` and `audio_latents`, `denoised_latents` and
`denoised_audio_latents` (what the model expects the result to be, to preview with `pipeline.decode_video`),
`num_steps`, `seconds` and `seconds_left`. Latents in the mapping that it returns are gone on with.
"""


def as_on_step(pipeline: Pipeline, callback: StepEnd[Pipeline] | None) -> OnStep | None:
    """The callback in the form that sampling calls."""
    if callback is None:
        return None
    called = callback

    def on_step(state: StepState) -> tuple[Any, Any] | None:
        values = {
            "latents": state.latents[0],
            "audio_latents": state.latents[1],
            "denoised_latents": state.denoised[0],
            "denoised_audio_latents": state.denoised[1],
            "num_steps": state.num_steps,
            "seconds": state.seconds,
            "seconds_left": state.seconds_left,
        }
        returned = called(pipeline, state.index, state.point.video_timestep, values)
        if not returned:
            return None
        return returned.get("latents", state.latents[0]), returned.get("audio_latents", state.latents[1])

    return on_step
