"""How many samples one evaluation of the model takes.

A short clip leaves a processor idle, so samples go together. A long one fills it alone, and each further sample would
only take memory: beside the released model's 43,120 video tokens (352x640, 193 frames), 4 GiB.
"""

from __future__ import annotations

import math

from mova_core.models.dual_tower import DualTower

MOST_VIDEO_TOKENS = 65536


def rows_at_once(model: DualTower, latent_extent: tuple[int, ...]) -> int:
    """The most samples to evaluate together; the same on every machine, since the number moves the last bits.

    latent_extent : latent frames, rows and columns of a sample.
    """
    num_tokens = math.prod(latent_extent) // math.prod(model.config.video.patch_size)
    return max(1, MOST_VIDEO_TOKENS // num_tokens)
