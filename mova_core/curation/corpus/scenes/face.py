"""A face whose mouth opens as far as its voice is loud."""

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
    dense_instants,
    exposed,
    in_blocks,
    laid_out,
    painted,
    with_article,
)

HEAD_RADIUS = 0.44
MOUTH_BELOW_CENTRE = 0.17
MOUTH_HALF_WIDTH = 0.20
MOUTH_CLOSED, MOUTH_OPEN = 0.012, 0.19  # half heights
MOUTH_COLOUR = np.asarray((74, 26, 40), np.float32)
EYE_COLOUR = np.asarray((36, 34, 44), np.float32)
ATTACK_SECONDS, RELEASE_SECONDS = 0.015, 0.06
PITCHES = ((110.0, "low"), (196.0, "high"))
LOUDNESS = 0.55


class Face:
    """See the module."""

    follows = True

    def drive(self, shot: ShotPlan, seconds: Floats) -> Floats:
        opening = np.zeros(seconds.shape, np.float32)
        for stroke in shot.strokes:
            opening += stroke.strength * _envelope(seconds - stroke.seconds, stroke.length_seconds)
        return opening

    def frames(self, shot: ShotPlan, width: int, height: int) -> Frames:
        canvas = Canvas(width, height)
        x, y = 0.05 * shot.centre[0], 0.04 * shot.centre[1]
        size = shot.scale * 0.95
        head = _head(shot, canvas, x, y, size)
        opening = exposed(shot, self.drive(shot, dense_instants(shot)))
        half_heights = (size * (MOUTH_CLOSED + (MOUTH_OPEN - MOUTH_CLOSED) * opening)).astype(np.float32)
        half_widths = np.full_like(half_heights, size * MOUTH_HALF_WIDTH)
        mouth_y = np.full_like(half_heights, y + size * MOUTH_BELOW_CENTRE)
        result = np.empty((shot.num_frames, height, width, 3), np.uint8)
        for block in in_blocks(shot.num_frames):
            mouth = canvas.ellipses(x, mouth_y[block], half_widths[block], half_heights[block])
            result[block] = as_pixels(painted(head[None], mouth, MOUTH_COLOUR))
        return result

    def sound(self, shot: ShotPlan, sample_rate_hz: int, num_samples: int) -> Floats:
        voice = tones.vowel(_vowel(shot), _pitch(shot)[0], sample_rate_hz)
        syllables = []
        for stroke in shot.strokes:
            seconds = np.arange(round((stroke.length_seconds + RELEASE_SECONDS) * sample_rate_hz), dtype=np.float32)
            envelope = _envelope(seconds / sample_rate_hz, stroke.length_seconds)
            start = round(stroke.seconds * sample_rate_hz)
            syllables.append((start, LOUDNESS * stroke.strength * envelope * voice[: envelope.size]))
        return laid_out(syllables, num_samples)

    def caption(self, shot: ShotPlan) -> CaptionParts:
        visual = (
            f"a round {shot.colour} face talks in front of a {shot.background} wall",
            f"{with_article(shot.colour)} face on a {shot.background} background opens and closes its mouth",
            f"close view of {with_article(shot.colour)} cartoon face that speaks, the wall behind it {shot.background}",
        )
        return CaptionParts(visual[shot.variant % 3], f'a {_pitch(shot)[1]} voice says "{_vowel(shot)}"', "")


def _envelope(seconds: Floats, length_seconds: float) -> Floats:
    """Loudness of a syllable: up in `ATTACK_SECONDS`, held, and down within `RELEASE_SECONDS` after its length."""
    rise = np.clip(seconds / ATTACK_SECONDS, 0, 1)
    fall = np.clip((length_seconds + RELEASE_SECONDS - seconds) / RELEASE_SECONDS, 0, 1)
    loudness: Floats = (rise * fall).astype(np.float32)
    return loudness


def _pitch(shot: ShotPlan) -> tuple[float, str]:
    return PITCHES[shot.tone % len(PITCHES)]


def _vowel(shot: ShotPlan) -> str:
    return list(tones.VOWELS)[shot.vowel % len(tones.VOWELS)]


def _head(shot: ShotPlan, canvas: Canvas, x: float, y: float, size: float) -> Floats:
    image = painted(canvas.background(shot.background), canvas.disc(x, y, size * HEAD_RADIUS), palette.rgb(shot.colour))
    for side in (-1, 1):
        eye = canvas.disc(x + side * size * 0.16, y - size * 0.15, size * 0.06)
        image = painted(image, eye, EYE_COLOUR)
    return image
