"""A wheel that is set spinning again and again; pitch and loudness of its hum follow its speed."""

from __future__ import annotations

import numpy as np

from mova_core.curation.corpus import palette
from mova_core.curation.corpus.plan import ShotPlan
from mova_core.curation.corpus.scenes import tones
from mova_core.curation.corpus.scenes.base import (
    DENSE_HZ,
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

RADIUS, HUB_RADIUS = 0.43, 0.15
SPEED_DECAY_SECONDS = 0.22
# Turns a second at full speed, the hum's pitch at rest and at full speed in Hz, and the words for both.
MOTORS = ((1.3, 180.0, 420.0, "slowly", "low"), (2.4, 300.0, 900.0, "fast", "high"))
HUB_DARK = np.asarray((52, 44, 52), np.float32)
HUB_LIT = np.asarray((255, 246, 206), np.float32)
FADE_SECONDS = 0.003
LOUDNESS = 0.5


class Wheel:
    """See the module."""

    follows = True

    def drive(self, shot: ShotPlan, seconds: Floats) -> Floats:
        return decays(shot.strokes, seconds, SPEED_DECAY_SECONDS)

    def frames(self, shot: ShotPlan, width: int, height: int) -> Frames:
        canvas = Canvas(width, height)
        x, y = 0.04 * shot.centre[0], 0.04 * shot.centre[1]
        radius = RADIUS * shot.scale * 0.95
        dense = self.drive(shot, dense_instants(shot))
        speed = exposed(shot, dense)
        angle = 2 * np.pi * (shot.centre[0] + _motor(shot)[0] * exposed(shot, np.cumsum(dense) / DENSE_HZ))
        disc, hub = canvas.disc(x, y, radius), canvas.disc(x, y, HUB_RADIUS)
        colour = palette.rgb(shot.colour)
        first = painted(canvas.background(shot.background), disc, colour)
        second = painted(canvas.background(shot.background), disc, 0.4 * colour)
        result = np.empty((shot.num_frames, height, width, 3), np.uint8)
        for block in in_blocks(shot.num_frames):
            cosine, sine = (f(angle[block]).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
            beyond = (canvas.x - x)[None] * cosine + (canvas.y - y)[None] * sine
            half = np.clip(beyond * canvas.pixels + 0.5, 0, 1)
            turned = first + half[..., None] * (second - first)
            hub_colour = HUB_DARK + speed[block, None, None, None] * (HUB_LIT - HUB_DARK)
            result[block] = as_pixels(painted(turned, hub[None], hub_colour))
        return result

    def sound(self, shot: ShotPlan, sample_rate_hz: int, num_samples: int) -> Floats:
        _, at_rest, at_speed, _, _ = _motor(shot)
        starts = [round(stroke.seconds * sample_rate_hz) for stroke in shot.strokes] + [num_samples]
        bursts = []
        for stroke, start, end in zip(shot.strokes, starts, starts[1:], strict=False):
            seconds = np.arange(end - start, dtype=np.float32) / sample_rate_hz
            speed = stroke.strength * np.exp(-seconds / SPEED_DECAY_SECONDS)
            wave = speed * tones.hum(at_rest + (at_speed - at_rest) * speed, sample_rate_hz)
            edges = np.minimum(seconds, seconds[::-1]) / FADE_SECONDS
            bursts.append((start, LOUDNESS * wave * np.minimum(edges, 1)))
        return laid_out(bursts, num_samples)

    def caption(self, shot: ShotPlan) -> CaptionParts:
        _, _, _, speed, pitch = _motor(shot)
        visual = (
            f"{with_article(shot.colour)} wheel turns {speed} in bursts in front of a {shot.background} wall",
            f"a two-tone {shot.colour} wheel on a {shot.background} background is set spinning {speed}",
            f"a {shot.background} room with {with_article(shot.colour)} wheel that turns {speed} and stops",
        )
        sound = (f"a {pitch} motor hum rises and falls with the wheel", f"the {pitch} hum of a motor in bursts")
        return CaptionParts(visual[shot.variant % 3], "", sound[shot.variant % 2])


def _motor(shot: ShotPlan) -> tuple[float, float, float, str, str]:
    return MOTORS[shot.tone % len(MOTORS)]
