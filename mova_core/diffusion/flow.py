"""Flow matching on straight paths (report section 3.3): z_s = (1 - s) z_0 + s eps, with target velocity eps - z_0.

`sigma` is the noise level s in [0, 1]; `u` is the same level before the shift that spends more of the path near noise.
Timesteps, as the model reads them, are sigma * NUM_TRAIN_TIMESTEPS.
"""

from __future__ import annotations

import torch

from mova_core.config.model import NUM_TRAIN_TIMESTEPS as NUM_TRAIN_TIMESTEPS

Pair = tuple[torch.Tensor, torch.Tensor]
"""(video, audio): latents, or their velocities."""


def shifted(u: torch.Tensor, shift: float) -> torch.Tensor:
    """sigma(u) = shift * u / (1 + (shift - 1) * u); the identity at shift 1."""
    return shift * u / (1 + (shift - 1) * u)


def unshifted(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """The u whose `shifted` value is `sigma`."""
    return sigma / (shift - (shift - 1) * sigma)


def noised(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """(1 - sigma) * clean + sigma * noise, with one sigma a sample: `sigma` `[b]`, the others `[b, ...]`."""
    level = _per_sample(sigma, clean)
    return (1 - level) * clean + level * noise


def target_velocity(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """What the model predicts: noise - clean, at every sigma."""
    return noise - clean


def _per_sample(sigma: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return sigma.to(like.dtype).reshape(-1, *([1] * (like.dim() - 1)))
