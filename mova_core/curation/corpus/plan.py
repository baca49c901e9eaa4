"""What every rendered video will show, drawn from the seed before anything is rendered.

Video `i` draws from its own generator, seeded with (seed, i), so neither the order nor the number of processes matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mova_core.config.curation import CorpusConfig
from mova_core.curation.corpus import palette
from mova_core.data.media import exact_rate

Key = TypeVar("Key")

# No event this close to a shot's edges: its sound would be cut off, or its picture lost in the cut.
CLEAR_AFTER_CUT_SECONDS = 0.12
CLEAR_BEFORE_CUT_SECONDS = 0.20
BEYOND_EDGE_SECONDS = 0.03


@dataclass(frozen=True)
class Stroke:
    """One event within a shot.

    Attributes
    ----------
    seconds : from the shot's first frame.
    strength : 0..1, of light and sound alike.
    length_seconds : how long a syllable lasts; classes that decay by themselves ignore it.
    """

    seconds: float
    strength: float
    length_seconds: float


@dataclass(frozen=True)
class ShotPlan:
    """One shot.

    Attributes
    ----------
    label : the class, a key of `mova_core.curation.corpus.scenes.SCENES`.
    first_frame, num_frames : its place in the video.
    background, colour : names in the palette.
    tone : which of the class' sounds (low or high, small to large, slow or fast).
    vowel : which vowel a face says.
    variant : which wording of the caption.
    centre : offset of the object from the picture's centre, as shares of the smaller side.
    scale : size factor around 1.
    strokes : the events, in order.
    before_seconds, after_seconds : instants of the events that would precede and follow, outside the shot.
    """

    label: str
    first_frame: int
    num_frames: int
    fps: float
    background: str
    colour: str
    tone: int
    vowel: int
    variant: int
    centre: tuple[float, float]
    scale: float
    strokes: tuple[Stroke, ...]
    before_seconds: float
    after_seconds: float

    @property
    def start_seconds(self) -> float:
        return self.first_frame / self.fps

    @property
    def end_seconds(self) -> float:
        return (self.first_frame + self.num_frames) / self.fps


@dataclass(frozen=True)
class VideoPlan:
    """One video: its form and its shots. `seed` feeds what is drawn while rendering (the noise floor)."""

    name: str
    width: int
    height: int
    fps: float
    sample_rate_hz: int
    gain: float
    noise_floor: float
    seed: tuple[int, ...]
    shots: tuple[ShotPlan, ...]

    @property
    def num_frames(self) -> int:
        return sum(shot.num_frames for shot in self.shots)

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps


def plan_corpus(config: CorpusConfig, clip_seconds: float, seed: int) -> list[VideoPlan]:
    """Plans whole videos until they amount to ``config.minutes``."""
    plans: list[VideoPlan] = []
    total = 0.0
    while total < config.minutes * 60:
        plan = plan_video(config, clip_seconds, (seed, len(plans)), f"demo-{len(plans):04d}")
        plans.append(plan)
        total += plan.duration_seconds
    return plans


def plan_video(
    config: CorpusConfig, clip_seconds: float, seed: tuple[int, ...], name: str, num_shots: int | None = None
) -> VideoPlan:
    """Plans one video of about ``config.video_seconds``, or of exactly `num_shots` shots."""
    rng = np.random.default_rng(seed)
    size = config.sizes[_weighted(rng, [size.weight for size in config.sizes])]
    fps = float(exact_rate(_weighted_key(rng, config.frame_rates)))
    sample_rate_hz = _weighted_key(rng, config.sample_rates_hz)
    gain = float(rng.uniform(0.8, 1.0))
    shots: list[ShotPlan] = []
    first_frame = 0
    while len(shots) < num_shots if num_shots is not None else first_frame / fps < config.video_seconds:
        previous = shots[-1] if shots else None
        shots.append(_plan_shot(rng, config, clip_seconds, fps, first_frame, previous))
        first_frame += shots[-1].num_frames
    return VideoPlan(
        name, size.width, size.height, fps, sample_rate_hz, gain, config.noise_floor, (*seed, 1), tuple(shots)
    )


def _plan_shot(
    rng: np.random.Generator,
    config: CorpusConfig,
    clip_seconds: float,
    fps: float,
    first_frame: int,
    previous: ShotPlan | None,
) -> ShotPlan:
    label = _weighted_key(rng, config.classes)
    low, high = config.clips_per_shot
    seconds = clip_seconds * int(rng.integers(low, high + 1)) + float(rng.uniform(*config.shot_slack_seconds))
    num_frames = round(seconds * fps)
    duration = num_frames / fps
    background = _one_of(
        rng, palette.backgrounds_after(previous.background if previous else None, only_dark=label == "lamp")
    )
    strokes, before, after = _plan_strokes(rng, config, duration)
    return ShotPlan(
        label=label,
        first_frame=first_frame,
        num_frames=num_frames,
        fps=fps,
        background=background,
        colour=_one_of(rng, palette.readable_colours(background)),
        tone=int(rng.integers(6)),
        vowel=int(rng.integers(6)),
        variant=int(rng.integers(6)),
        centre=(float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1))),
        scale=float(rng.uniform(0.9, 1.1)),
        strokes=strokes,
        before_seconds=before,
        after_seconds=after,
    )


def _plan_strokes(
    rng: np.random.Generator, config: CorpusConfig, duration: float
) -> tuple[tuple[Stroke, ...], float, float]:
    """Events at random distances: runs of close ones, and pauses. The first frame tells nothing of the next event."""
    strokes = []
    seconds = float(rng.uniform(CLEAR_AFTER_CUT_SECONDS, config.pause_seconds[1] - config.close_seconds[0]))
    before = min(seconds - _gap(rng, config), -BEYOND_EDGE_SECONDS)
    while seconds < duration - CLEAR_BEFORE_CUT_SECONDS:
        gap = _gap(rng, config)
        length = float(rng.uniform(0.45, 0.65)) * config.close_seconds[0]
        strokes.append(Stroke(seconds, float(rng.uniform(0.75, 1.0)), length))
        seconds += gap
    return tuple(strokes), before, max(seconds, duration + BEYOND_EDGE_SECONDS)


def _gap(rng: np.random.Generator, config: CorpusConfig) -> float:
    pauses = rng.uniform() < config.pause_share
    return float(rng.uniform(*(config.pause_seconds if pauses else config.close_seconds)))


def _weighted(rng: np.random.Generator, weights: list[float]) -> int:
    return int(rng.choice(len(weights), p=np.asarray(weights) / sum(weights)))


def _weighted_key(rng: np.random.Generator, weights: Mapping[Key, float]) -> Key:
    return list(weights)[_weighted(rng, list(weights.values()))]


def _one_of(rng: np.random.Generator, names: list[str]) -> str:
    return names[int(rng.integers(len(names)))]
