"""Settings of `sample`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mova_core.config.base import Section

SolverName = Literal["euler", "multistep"]
"""Solvers of `mova_core.diffusion.solvers`: first order, and second order at the same cost a step."""


class SampleSet(Section):
    """One set of generated clips. Every set is given the same held-out clips and the same seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="the folder under data/samples")
    phase: Literal["joint2", "joint3"] = Field(description="whose checkpoint generates it")
    bridge: bool = Field(description="whether the towers exchange anything; off is the control for synchrony")
    height: int = Field(gt=0, multiple_of=16, description="pixels; the phase's training resolution")
    width: int = Field(gt=0, multiple_of=16)


class SampleConfig(Section):
    """Solver, guidance and which sets are sampled."""

    sets: tuple[SampleSet, ...] = Field(min_length=1)
    num_clips: int = Field(gt=0, description="held-out clips a set, chosen in the proportions of their labels")
    batch_size: int = Field(gt=0, description="clips generated at once; changes speed and memory only")
    solver: SolverName = Field(
        "euler", description="how steps are taken; a file that names none was written when all were Euler's"
    )
    num_steps: int = Field(gt=0, le=1000, description="solver steps; multistep needs fewer than euler")
    text_guidance: float = Field(ge=0, description="s_T; 1 follows the prompt as trained, 0 ignores it")
    bridge_guidance: float = Field(ge=0, description="s_B; 1 is the Bridge as trained, 0 is the towers apart")

    @field_validator("sets")
    @classmethod
    def _names_differ(cls, sets: tuple[SampleSet, ...]) -> tuple[SampleSet, ...]:
        names = [entry.name for entry in sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sets are named {name!r}, expected different names")
        return sets
