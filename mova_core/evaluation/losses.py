"""Held-out loss of a checkpoint: velocity error of each modality, with the Bridge on and off, under fixed draws.

Noise levels are uniform on 0..1 and independent for the two modalities, whatever shift a phase trained with, and noise
and levels depend on the seed and the draw alone. So phases at one resolution are compared on equal tasks, and the two
settings of the Bridge clip by clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mova_core.data.shards import LatentBatch, LatentStore
from mova_core.diffusion.flow import NUM_TRAIN_TIMESTEPS, noised, target_velocity
from mova_core.evaluation.results import Loss, PhaseLoss
from mova_core.models.build import MASK_CHANNELS
from mova_core.models.dual_tower import DualTower
from mova_core.models.weights import load_model

CLIPS_AT_ONCE = 16
# The first latent frame is given, so predicting it is no task.
GIVEN_LATENT_FRAMES = 1

Errors = npt.NDArray[np.float64]


def phase_loss(
    phase: str,
    checkpoint: Path,
    store: LatentStore,
    rows: Sequence[int],
    *,
    resolution: tuple[int, int],
    loudness_normalised: bool,
    num_draws: int,
    video_fps: float,
    seed: int,
) -> PhaseLoss:
    """Measures one checkpoint.

    Parameters
    ----------
    rows : indices of held-out clips in `store`.
    resolution : (height, width) of the pictures that the phase was trained on.
    loudness_normalised : whether it was trained on levelled sound.
    num_draws : noise levels per clip.

    Raises
    ------
    UserError : if there is no checkpoint, or that resolution is not cached.
    """
    model = load_model(checkpoint, dtype=torch.float32).eval()
    errors = {True: np.zeros((len(rows), 2)), False: np.zeros((len(rows), 2))}
    for start in range(0, len(rows), CLIPS_AT_ONCE):
        part = slice(start, start + CLIPS_AT_ONCE)
        batch = store.batch(rows[part], resolution, loudness_normalised)
        for draw in range(num_draws):
            generator = torch.Generator().manual_seed(_draw_seed(seed, draw, start))
            for bridge, sums in errors.items():
                sums[part] += _errors(model, batch, bridge, video_fps, generator.clone_state()) / num_draws
    gain = errors[False] - errors[True]
    return PhaseLoss(
        phase=phase,
        height=resolution[0],
        width=resolution[1],
        num_clips=len(rows),
        num_draws=num_draws,
        bridge_on=_loss(errors[True].mean(axis=0)),
        bridge_off=_loss(errors[False].mean(axis=0)),
        gain=_loss(gain.mean(axis=0)),
        gain_error=_loss(gain.std(axis=0) / np.sqrt(max(len(rows) - 1, 1))),
    )


def _draw_seed(seed: int, draw: int, start: int) -> int:
    return int(np.random.SeedSequence([seed, draw, start]).generate_state(1)[0])


def _loss(pair: Errors) -> Loss:
    return Loss(float(pair[0]), float(pair[1]))


@torch.no_grad()
def _errors(model: DualTower, batch: LatentBatch, bridge: bool, video_fps: float, generator: torch.Generator) -> Errors:
    """Squared error of every clip, ``[B, 2]``: video, audio."""
    count = len(batch.video)
    video_sigma, audio_sigma = torch.rand(2, count, generator=generator)
    video_noise = torch.randn(batch.video.shape, generator=generator)
    audio_noise = torch.randn(batch.audio.shape, generator=generator)
    errors = np.zeros((count, 2))
    experts = [model.expert_at(float(sigma) * NUM_TRAIN_TIMESTEPS) for sigma in video_sigma]
    for expert in sorted(set(experts)):
        chosen = torch.tensor([index for index, name in enumerate(experts) if name == expert])
        video, audio = batch.video[chosen], batch.audio[chosen]
        velocities = model(
            noised(video, video_noise[chosen], video_sigma[chosen]),
            _condition(batch.first_frame[chosen]),
            noised(audio, audio_noise[chosen], audio_sigma[chosen]),
            video_sigma[chosen] * NUM_TRAIN_TIMESTEPS,
            audio_sigma[chosen] * NUM_TRAIN_TIMESTEPS,
            batch.text[chosen],
            expert=expert,
            bridge=bridge,
            video_fps=video_fps,
        )
        targets = target_velocity(video, video_noise[chosen]), target_velocity(audio, audio_noise[chosen])
        difference = (velocities[0] - targets[0])[:, :, GIVEN_LATENT_FRAMES:], velocities[1] - targets[1]
        for column, values in enumerate(difference):
            errors[chosen.numpy(), column] = values.square().flatten(1).mean(dim=1).double().numpy()
    return errors


def _condition(first_frame: torch.Tensor) -> torch.Tensor:
    """Mask channels, 1 where the frame is given, before the latents of the given frame."""
    mask = torch.zeros_like(first_frame[:, :1]).repeat(1, MASK_CHANNELS, 1, 1, 1)
    mask[:, :, :GIVEN_LATENT_FRAMES] = 1
    return torch.cat((mask, first_frame), dim=1)
