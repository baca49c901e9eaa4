"""Every random choice of training, as a pure function of (seed, phase, step, sample).

Nothing here has a state, so a batch may be split between any number of processes, a run may be resumed at any step,
and the draws stay what they were. Bits come from the counter-based generator Philox, keyed by a hash of the names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16

Noise = NDArray[np.float32]


@dataclass(frozen=True)
class Draw:
    """What chance decides about one sample.

    Attributes
    ----------
    video_u, audio_u : uniform in [0, 1), independent; their schedules turn them into noise levels.
    text_u, bridge_u : uniform in [0, 1); below the dropout rate, the sample loses its text or its Bridge.
    video_noise, audio_noise : standard normal, in the shapes of the latents.
    """

    video_u: float
    audio_u: float
    text_u: float
    bridge_u: float
    video_noise: Noise
    audio_noise: Noise


def draw(
    seed: int, phase: str, step: int | str, sample: int, video_shape: tuple[int, ...], audio_shape: tuple[int, ...]
) -> Draw:
    """The draw of a sample, `sample` being its index in the whole batch of that step.

    The uniform numbers come first, so they do not depend on the shapes.
    """
    generator = generator_for(seed, phase, step, sample)
    video_u, audio_u, text_u, bridge_u = generator.random(4)
    return Draw(
        float(video_u),
        float(audio_u),
        float(text_u),
        float(bridge_u),
        generator.standard_normal(video_shape, dtype=np.float32),
        generator.standard_normal(audio_shape, dtype=np.float32),
    )


def number_for(seed: int, *names: object) -> int:
    """A seed of its own, below 2^64, for every different `(seed, *names)`."""
    return int.from_bytes(_hash(seed, *names)[:8], "little")


def generator_for(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for every different `(seed, *names)`."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_hash(seed, *names)[:KEY_BYTES], "little")))


def _hash(*parts: object) -> bytes:
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8")).digest()
