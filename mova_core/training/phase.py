"""What a phase trains, on what, from which weights: everything the loop needs, built from the configuration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mova_core.codecs.base import AUDIO_FOLDER, load_audio_codec
from mova_core.config import Config
from mova_core.config.model import ModelConfig
from mova_core.config.training import JointPhaseConfig
from mova_core.data.shards import LatentStore
from mova_core.errors import UserError
from mova_core.models.build import build_model
from mova_core.models.dual_tower import DualTower, DualTowerConfig, Expert
from mova_core.models.initialise import initialise
from mova_core.models.weights import load_model
from mova_core.training.batches import AudioBatches, Batches, JointBatches
from mova_core.training.draws import number_for
from mova_core.training.objective import AudioObjective, JointObjective
from mova_core.training.rundir import RunFolder, predecessor_of
from mova_core.training.schedule import expert_of_step
from mova_core.workspace import Workspace

EXPERTS = {"high_noise": "video_dit", "low_noise": "video_dit_2"}


@dataclass(frozen=True)
class Phase:
    """One phase, ready to run.

    Attributes
    ----------
    model : the whole model, as it trains.
    checkpoint_shape : the configuration that the checkpoint will have; where the experts train together, the model has
        one video tower and the checkpoint two.
    objective : maps a batch to losses; its `model` is what is trained.
    prefix : makes the trained parameters' names the whole model's.
    batches : this process's.
    loss_names, loss_weights : of the objective's columns.
    """

    name: str
    model: DualTower
    checkpoint_shape: DualTowerConfig
    objective: nn.Module
    prefix: str
    batches: Batches[Any]
    loss_names: tuple[str, ...]
    loss_weights: tuple[float, ...]

    def expert(self, step: int) -> Expert:
        """Which expert learns at `step`."""
        return expert_of_step(step, self.model.config.num_experts)

    def checkpoint_weights(self, trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The checkpoint's parameters: the trained ones, what the phase leaves as it was, and, of experts that trained
        together, the second one's."""
        rest = self.model.state_dict() if self.prefix else {}
        weights = {**{name: value for name, value in rest.items() if not name.startswith(self.prefix)}, **trained}
        if self.model.config.num_experts < self.checkpoint_shape.num_experts:
            first, second = (f"{EXPERTS[expert]}." for expert in ("high_noise", "low_noise"))
            twins = {name: value for name, value in weights.items() if name.startswith(first)}
            weights |= {second + name.removeprefix(first): value for name, value in twins.items()}
        return weights

    def idle(self, step: int) -> str | None:
        """The component that rests at `step`."""
        if self.prefix or self.model.config.num_experts == 1:
            return None
        return next(component for expert, component in EXPERTS.items() if expert != self.expert(step))


def build_phase(config: Config, workspace: Workspace, name: str, rank: int, num_ranks: int) -> Phase:
    """Reads the latents and the weights of the phase before, or draws first weights.

    Raises
    ------
    UserError : if the latents lack what the phase needs, or the weights before are of a model of another shape.
    """
    store = LatentStore(workspace.latents)
    settings = config.train.phase(name)
    together = isinstance(settings, JointPhaseConfig) and settings.experts == "together"
    section = config.model.model_copy(update={"num_experts": 1}) if together else config.model
    model = starting_model(config, workspace, name, store, section)
    if not isinstance(settings, JointPhaseConfig):
        return Phase(
            name=name,
            model=model,
            checkpoint_shape=model.config,
            objective=AudioObjective(model.audio_dit),
            prefix="audio_dit.",
            batches=AudioBatches(store, name, settings, config.seed, rank, num_ranks),
            loss_names=("audio_loss",),
            loss_weights=(1.0,),
        )
    store.video_shape((settings.height, settings.width))  # says so at once if that size is not cached
    model.set_spatial_rope_scale(settings.spatial_rope_scale)
    return Phase(
        name=name,
        model=model,
        checkpoint_shape=dataclasses.replace(model.config, num_experts=config.model.num_experts),
        objective=JointObjective(model, config.media.fps),
        prefix="",
        batches=JointBatches(
            store,
            name,
            settings,
            config.seed,
            rank,
            num_ranks,
            num_experts=section.num_experts,
            boundary_ratio=config.model.boundary_ratio,
        ),
        loss_names=("video_loss", "audio_loss"),
        loss_weights=(1.0, settings.audio_loss_weight),
    )


def starting_model(
    config: Config, workspace: Workspace, name: str, store: LatentStore, section: ModelConfig
) -> DualTower:
    """The model of `section` with the weights that the phase starts from: first ones for `audio`; the audio tower of
    phase `audio`, and a first picture side and Bridge, for `joint1`; from then on all of the phase before. A model with
    one expert takes the first of two, which are equal as long as they train together.

    Raises
    ------
    UserError : if the phase before trained a model of another shape.
    """
    resolution = store.resolutions[0]
    model = build_model(
        section,
        video_latent_channels=store.video_shape(resolution)[0],
        audio_latent_channels=store.audio_shape[0],
        text_dim=store.text_shape[1],
        audio_latent_rate_hz=load_audio_codec(workspace.codecs / AUDIO_FOLDER).latent_rate_hz,
    )
    initialise(model, torch.Generator().manual_seed(number_for(config.seed, "first weights") >> 1))
    before = predecessor_of(name)
    if before is None:
        return model
    folder = RunFolder(workspace.run(before)).checkpoint
    loaded = load_model(folder)
    source, target = (loaded.audio_dit, model.audio_dit) if before == "audio" else (loaded, model)
    weights = source.state_dict()
    if section.num_experts == 1:
        weights = {name: value for name, value in weights.items() if not name.startswith(f"{EXPERTS['low_noise']}.")}
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{folder} holds a model of another shape than params.yaml",
            expected="the shape it was trained with",
            remedy=f"set `model` back, or run `mova train --phase {before}` again first",
        ) from error
    return model
