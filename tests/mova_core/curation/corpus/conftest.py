"""A corpus small enough to render within a test, and single shots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from mova_core.config import Config, parse_config, preset_text
from mova_core.curation.corpus.plan import ShotPlan, Stroke, VideoPlan


@pytest.fixture(scope="session")
def small_config() -> Callable[..., Config]:
    """``small_config(**corpus)``: the nano preset with a corpus of a few seconds; arguments override its settings."""

    def make(**corpus: Any) -> Config:
        values = yaml.safe_load(preset_text("nano"))
        values["corpus"].update(
            minutes=0.4,
            video_seconds=7,
            clips_per_shot=[2, 2],
            sizes=[{"width": 64, "height": 64, "weight": 1}, {"width": 80, "height": 60, "weight": 1}],
            frame_rates={24: 1, 29.97: 1},
            faults=False,
        )
        seed = corpus.pop("seed", values["seed"])
        values["corpus"].update(corpus)
        return parse_config(yaml.safe_dump({**values, "seed": seed}), source="test")

    return make


@pytest.fixture
def one_shot() -> Callable[..., VideoPlan]:
    """``one_shot(label, instants, fps=24, ...)``: a video of one shot of 2.75 s with events at the given instants."""

    def make(label: str, instants: tuple[float, ...] = (0.713, 1.402, 2.117), **changes: Any) -> VideoPlan:
        fps = changes.pop("fps", 24.0)
        size = changes.pop("size", (64, 64))
        shot = ShotPlan(
            label=label,
            first_frame=0,
            num_frames=round(2.75 * fps),
            fps=fps,
            background="dark blue",
            colour="yellow",
            tone=0,
            vowel=0,
            variant=0,
            centre=(0.3, -0.4),
            scale=1.0,
            strokes=tuple(Stroke(seconds, 0.9, 0.22) for seconds in instants),
            before_seconds=-0.2,
            after_seconds=2.9,
        )
        changed = {name: changes.pop(name) for name in list(changes) if hasattr(shot, name)}
        shot = ShotPlan(**{**vars(shot), **changed})
        return VideoPlan("one", *size, fps, changes.pop("sample_rate_hz", 48_000), 1.0, 0.002, (7, 1), (shot,))

    return make
