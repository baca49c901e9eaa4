"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mova_core.config.base import Section


class EvaluateConfig(Section):
    """Which measures are taken, on how many clips. Synchrony is measured on every clip that `sample` made."""

    loss_phases: tuple[Literal["joint1", "joint2", "joint3"], ...] = Field(
        description="checkpoints whose held-out loss is taken, with the Bridge on and off"
    )
    num_loss_clips: int = Field(gt=0, description="held-out clips for that loss")
    num_loss_draws: int = Field(gt=0, description="noise levels a clip; the same draws for every checkpoint")
    num_report_clips: int = Field(gt=0, description="rows of clips in the report, spread over the classes")
    report_clip_pixels: int = Field(ge=64, le=512, multiple_of=2, description="width of the clips in the report")
