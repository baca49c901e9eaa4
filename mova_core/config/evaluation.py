"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mova_core.config.base import Section


class EvaluateConfig(Section):
    """Which measures are taken, on how many clips."""

    num_real_clips: int = Field(
        gt=0,
        description="held-out clips whose own picture and sound give the ceiling, as they are and through the codecs",
    )
    num_calibration_clips: int = Field(
        ge=0, description="training clips against whose truth the detectors' constant delays are measured"
    )
    loss_phases: tuple[Literal["joint1", "joint2", "joint3"], ...] = Field(
        min_length=1, description="checkpoints whose validation loss is taken, with the Bridge on and off"
    )
    num_loss_clips: int = Field(gt=0, description="held-out clips for the validation loss")
    num_loss_draws: int = Field(
        gt=0, description="noise levels per clip and expert; the same draws for every checkpoint"
    )
    num_report_clips: int = Field(gt=0, description="rows of clips in the report, spread over the classes")
    report_clip_pixels: int = Field(ge=64, le=512, multiple_of=2, description="width of the clips in the report")
