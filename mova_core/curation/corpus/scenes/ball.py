"""A ball that bounces on a floor; the larger it is, the deeper it sounds."""

from __future__ import annotations

import numpy as np

from mova_core.curation.corpus import palette
from mova_core.curation.corpus.plan import ShotPlan
from mova_core.curation.corpus.scenes import tones
from mova_core.curation.corpus.scenes.base import (
    Canvas,
    CaptionParts,
    Floats,
    Frames,
    as_pixels,
    decays,
    dense_instants,
    exposed,
    in_blocks,
    laid_out,
    painted,
)

FLOOR = 0.24  # below the picture's centre
IMPACT_DECAY_SECONDS = 0.09
# Radius, pitch of the impact in Hz, and the words for both.
SIZES = ((0.13, 880.0, "small", "high"), (0.17, 590.0, "medium-sized", "middling"), (0.21, 392.0, "large", "deep"))
PARTIALS = ((1.0, 1.0, 0.09), (2.4, 0.5, 0.05), (4.9, 0.35, 0.02))
LOUDNESS = 0.65
LONGEST_FLIGHT_SECONDS = 1.2
SMALLEST_BOUNCE = 0.35  # of the highest


class Ball:
    """See the module."""

    follows = False

    def drive(self, shot: ShotPlan, seconds: Floats) -> Floats:
        return decays(shot.strokes, seconds, IMPACT_DECAY_SECONDS)

    def frames(self, shot: ShotPlan, width: int, height: int) -> Frames:
        canvas = Canvas(width, height)
        radius = _size(shot)[0]
        x = 0.2 * shot.centre[0]
        calm, struck = _pictures(shot, canvas, x)
        change = struck - calm
        impact = exposed(shot, self.drive(shot, dense_instants(shot)))
        half_heights = radius * (1 - 0.35 * impact)
        half_widths = radius * (1 + 0.25 * impact)
        instants = (np.arange(shot.num_frames) / shot.fps).astype(np.float32)
        y = FLOOR - half_heights - _heights(shot, instants) * (0.5 + FLOOR - 2 * radius)
        colour = palette.rgb(shot.colour)
        result = np.empty((shot.num_frames, height, width, 3), np.uint8)
        for block in in_blocks(shot.num_frames):
            ball = canvas.ellipses(x, y[block], half_widths[block], half_heights[block])
            result[block] = as_pixels(painted(calm + impact[block, None, None, None] * change, ball, colour))
        return result

    def sound(self, shot: ShotPlan, sample_rate_hz: int, num_samples: int) -> Floats:
        thud = tones.struck(_size(shot)[1], PARTIALS, sample_rate_hz)
        return laid_out(
            [(round(s.seconds * sample_rate_hz), LOUDNESS * s.strength * thud) for s in shot.strokes], num_samples
        )

    def caption(self, shot: ShotPlan) -> CaptionParts:
        _, _, size, pitch = _size(shot)
        visual = (
            f"a {size} {shot.colour} ball bounces in front of a {shot.background} wall",
            f"a {size} {shot.colour} ball on a {shot.background} background falls to the floor and bounces",
            f"a {shot.background} room where a {size} {shot.colour} ball bounces",
        )
        sound = (f"a {pitch} thud at each bounce", f"{pitch} knocks of the ball on the floor")
        return CaptionParts(visual[shot.variant % 3], "", sound[shot.variant % 2])


def _size(shot: ShotPlan) -> tuple[float, float, str, str]:
    return SIZES[shot.tone % len(SIZES)]


def _heights(shot: ShotPlan, seconds: Floats) -> Floats:
    """Height above the floor as a share of the room: a parabola from impact to impact, higher for a longer flight."""
    impacts = np.asarray([shot.before_seconds, *(s.seconds for s in shot.strokes), shot.after_seconds], np.float32)
    flight = np.clip(np.searchsorted(impacts, seconds, side="right") - 1, 0, impacts.size - 2)
    start, length = impacts[flight], np.diff(impacts)[flight]
    share = np.clip((seconds - start) / length, 0, 1)
    highest = np.clip(length / LONGEST_FLIGHT_SECONDS, SMALLEST_BOUNCE, 1)
    heights: Floats = (highest * 4 * share * (1 - share)).astype(np.float32)
    return heights


def _pictures(shot: ShotPlan, canvas: Canvas, x: float) -> tuple[Floats, Floats]:
    """The room at rest, and with the floor lit up by an impact."""
    wall = canvas.background(shot.background)
    floor = canvas.box(0, FLOOR + 2, 4, 2)
    colour = palette.rgb(shot.background)
    lit = np.clip(colour * 0.7 + 0.6 * (255 - colour * 0.7), 0, 255)
    spread = np.exp(-(((canvas.x - x) / 0.45) ** 2)) * np.ones_like(canvas.y)
    calm = painted(wall, floor, 0.7 * colour)
    return calm, painted(calm, floor * spread, lit).astype(np.float32)
