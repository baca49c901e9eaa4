"""Renders a planned video to an mp4 and states its truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.curation.corpus.plan import ShotPlan, VideoPlan
from mova_core.curation.corpus.scenes import SCENES
from mova_core.curation.corpus.scenes.base import truth_curve
from mova_core.data.media import MediaWriter
from mova_core.data.records import Event
from mova_core.data.truth import Shot, SourceTruth

EDGE_FADE_SECONDS = 0.005
CONSTANT_RATE_FACTOR = 18


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one video, and what it holds. `encode_seconds` is the part in the encoders and the disk."""

    num_frames: int
    duration_seconds: float
    total_seconds: float
    encode_seconds: float


def render_video(plan: VideoPlan, path: Path) -> Cost:
    """Writes the video shot by shot; `path` should be a temporary name."""
    started = time.process_time()
    drawing = 0.0
    with MediaWriter(
        path,
        width=plan.width,
        height=plan.height,
        fps=plan.fps,
        sample_rate_hz=plan.sample_rate_hz,
        constant_rate_factor=CONSTANT_RATE_FACTOR,
    ) as writer:
        for index in range(len(plan.shots)):
            before = time.process_time()
            frames, sound = shot_pictures(plan, index), shot_sound(plan, index)
            drawing += time.process_time() - before
            writer.write_frames(frames)
            writer.write_audio(sound)
    total = time.process_time() - started
    return Cost(plan.num_frames, plan.duration_seconds, total, total - drawing)


def shot_pictures(plan: VideoPlan, index: int) -> NDArray[np.uint8]:
    """All pictures of a shot, ``[T, H, W, 3]``."""
    shot = plan.shots[index]
    return SCENES[shot.label].frames(shot, plan.width, plan.height)


def shot_sound(plan: VideoPlan, index: int) -> NDArray[np.float32]:
    """The sound of a shot, over noise, ending with the shot."""
    shot = plan.shots[index]
    first, end = _sample_span(plan, shot)
    sound = SCENES[shot.label].sound(shot, plan.sample_rate_hz, end - first) * np.float32(plan.gain)
    fade = np.arange(end - first, dtype=np.float32)[::-1] / (EDGE_FADE_SECONDS * plan.sample_rate_hz)
    noise = np.random.default_rng((*plan.seed, index)).standard_normal(end - first, np.float32)
    result: NDArray[np.float32] = sound * np.minimum(fade, 1) + np.float32(plan.noise_floor) * noise
    return result.astype(np.float32)


def video_truth(plan: VideoPlan, file_name: str) -> SourceTruth:
    """What the rendered video shows, on its own clock."""
    return SourceTruth(
        video=file_name,
        duration_seconds=round(plan.duration_seconds, 6),
        shots=[_shot_truth(plan, shot) for shot in plan.shots],
    )


def _shot_truth(plan: VideoPlan, shot: ShotPlan) -> Shot:
    scene = SCENES[shot.label]
    caption = scene.caption(shot)
    return Shot(
        label=shot.label,
        start_seconds=round(shot.start_seconds, 6),
        end_seconds=round(shot.end_seconds, 6),
        visual=caption.visual,
        speech=caption.speech,
        sound=caption.sound,
        music="",
        events=[_event(plan, shot, stroke.seconds) for stroke in shot.strokes],
        curve=truth_curve(scene, shot),
    )


def _event(plan: VideoPlan, shot: ShotPlan, seconds: float) -> Event:
    """The instant in the picture is exact; the sound starts on the sample nearest to it."""
    sample = _sample_span(plan, shot)[0] + round(seconds * plan.sample_rate_hz)
    return Event(shot.label, round(shot.start_seconds + seconds, 6), round(sample / plan.sample_rate_hz, 6))


def _sample_span(plan: VideoPlan, shot: ShotPlan) -> tuple[int, int]:
    return round(shot.start_seconds * plan.sample_rate_hz), round(shot.end_seconds * plan.sample_rate_hz)
