"""A lamp that flashes, with a bell at every flash."""

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
    with_article,
)

RADIUS = 0.25
LIGHT_DECAY_SECONDS = 0.13
# Frequency in Hz and how it is called. Small bells: above 4 kHz a voice detector does not take them for speech.
BELLS = ((4300.0, "low"), (6100.0, "high"))
PARTIALS = ((1.0, 1.0, 0.16), (1.47, 0.45, 0.09), (2.09, 0.2, 0.05))
LOUDNESS = 0.5


class Lamp:
    """See the module."""

    follows = False

    def drive(self, shot: ShotPlan, seconds: Floats) -> Floats:
        return decays(shot.strokes, seconds, LIGHT_DECAY_SECONDS)

    def frames(self, shot: ShotPlan, width: int, height: int) -> Frames:
        dark, lit = _pictures(shot, Canvas(width, height))
        light = exposed(shot, self.drive(shot, dense_instants(shot)))
        change = lit - dark
        result = np.empty((shot.num_frames, height, width, 3), np.uint8)
        for block in in_blocks(shot.num_frames):
            result[block] = as_pixels(dark + light[block, None, None, None] * change)
        return result

    def sound(self, shot: ShotPlan, sample_rate_hz: int, num_samples: int) -> Floats:
        bell = tones.struck(_bell(shot)[0], PARTIALS, sample_rate_hz)
        return laid_out(
            [(round(s.seconds * sample_rate_hz), LOUDNESS * s.strength * bell) for s in shot.strokes], num_samples
        )

    def caption(self, shot: ShotPlan) -> CaptionParts:
        pitch = _bell(shot)[1]
        visual = (
            f"{with_article(shot.colour)} lamp flashes in front of a {shot.background} wall",
            f"a round {shot.colour} lamp on a {shot.background} background lights up in sudden flashes",
            f"a {shot.background} room with {with_article(shot.colour)} lamp that flashes",
        )
        sound = (f"a small {pitch} bell rings at each flash", f"strokes of a small {pitch} bell")
        return CaptionParts(visual[shot.variant % 3], "", sound[shot.variant % 2])


def _bell(shot: ShotPlan) -> tuple[float, str]:
    return BELLS[shot.tone % len(BELLS)]


def _pictures(shot: ShotPlan, canvas: Canvas) -> tuple[Floats, Floats]:
    """The scene with the lamp off and on. Light scales the wall's colour, so that hue and saturation stay."""
    x, y = 0.14 * shot.centre[0], 0.08 * shot.centre[1] - 0.05
    radius = RADIUS * shot.scale
    wall = canvas.background(shot.background)
    stand = canvas.box(x, y + 0.45, 0.05, 0.45)
    bulb = canvas.disc(x, y, radius)
    colour = palette.rgb(shot.colour)
    dark = painted(painted(wall, stand, 0.35 * colour), bulb, 0.5 * colour)
    distance = np.hypot(canvas.x - x, canvas.y - y)
    glow = 1 + 1.1 * np.exp(-((distance / 0.55) ** 2))[..., None]
    lit = painted(painted(np.clip(wall * glow, 0, 255), stand, 0.5 * colour), bulb, colour + 0.5 * (255 - colour))
    return dark, lit.astype(np.float32)
