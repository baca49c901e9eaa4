"""The one form that every clip has after curation."""

from __future__ import annotations

from pydantic import Field, model_validator

from mova_core.config.base import Section


class MediaConfig(Section):
    """Canonical clip: size, rate and length. Durations derive from these and are stated nowhere else."""

    width: int = Field(gt=0, multiple_of=16)
    height: int = Field(gt=0, multiple_of=16)
    fps: float = Field(gt=0)
    num_frames: int = Field(gt=0)
    sample_rate_hz: int = Field(gt=0)

    @model_validator(mode="after")
    def _frames_fit_the_codec(self) -> MediaConfig:
        if self.num_frames % 4 != 1:
            raise ValueError(f"num_frames is {self.num_frames}, expected 4k+1 (the video codec's temporal stride)")
        return self

    @property
    def clip_seconds(self) -> float:
        return self.num_frames / self.fps

    @property
    def num_audio_samples(self) -> int:
        """Samples of one clip, rounded to the nearest."""
        return round(self.clip_seconds * self.sample_rate_hz)
