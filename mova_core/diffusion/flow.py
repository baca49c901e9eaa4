"""Flow matching on straight paths (report section 3.3): z_s = (1 - s) z_0 + s eps, with target velocity eps - z_0.

`sigma` is the noise level s in [0, 1]; `u` is the same level before the shift that spends more of the path near noise.
Timesteps, as the model reads them, are 1000 * sigma.
"""

from __future__ import annotations

import torch

NUM_TRAIN_TIMESTEPS = 1000

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


def denoised(noisy: torch.Tensor, velocity: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that `velocity` points to from `noisy`: noisy - sigma * velocity."""
    return noisy - _per_sample(sigma, noisy) * velocity


def draw_sigma(
    num: int, shift: float, generator: torch.Generator, within: tuple[float, float] = (0.0, 1.0)
) -> torch.Tensor:
    """Noise levels for training: u uniform, then shifted; float32 `[num]`.

    Parameters
    ----------
    within : the interval of sigma to stay in, which an expert is responsible for; inside it the law is that of the
        whole interval, conditioned.
    """
    low, high = (float(unshifted(torch.tensor(bound, dtype=torch.float64), shift)) for bound in within)
    u = torch.rand(num, generator=generator, dtype=torch.float64, device=generator.device)
    return shifted(low + (high - low) * u, shift).to(torch.float32)


def _per_sample(sigma: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return sigma.to(like.dtype).reshape(-1, *([1] * (like.dim() - 1)))
