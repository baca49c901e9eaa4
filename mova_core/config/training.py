"""Settings of `train`: what is learned (optimizer, phases), what is watched (validation), how it runs (engine)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mova_core.config.base import Section


class OptimizerConfig(Section):
    """One optimizer step, the same in every phase.

    Attributes
    ----------
    matrices : rule for the weight matrices of transformer blocks and Bridge: `muon` (orthogonalised momentum, scaled so
        that its step is as large as AdamW's at one learning rate) or `adamw`. Everything else follows AdamW.
    muon_momentum : decay of Muon's momentum.
    newton_schulz_steps : iterations of Muon's orthogonalisation.
    betas, eps : AdamW's.
    clip_norm : the gradient's norm over all parameters is cut to this; 0 for no clipping.
    ema_decay : of the averaged weights that a checkpoint holds; approached from below in the first steps of a phase.
    """

    matrices: Literal["muon", "adamw"]
    muon_momentum: float = Field(ge=0, lt=1)
    newton_schulz_steps: int = Field(ge=1, le=12)
    betas: tuple[float, float]
    eps: float = Field(gt=0)
    clip_norm: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)


class ValidationConfig(Section):
    """Held-out loss under fixed draws.

    Attributes
    ----------
    every_steps : how often; it is also taken after the last step, with the averaged weights.
    num_clips : how many held-out clips; fewer where the split has fewer.
    """

    every_steps: int = Field(ge=1)
    num_clips: int = Field(ge=1)


class EngineConfig(Section):
    """How training runs. No field here changes what is learned, beyond the rounding of sums.

    Attributes
    ----------
    processes, threads_per_process : of a local launch; a launch by torchrun or deepspeed brings its own.
    max_micro_batch : clips in one forward of one process; a larger share of the batch is accumulated.
    flat_parameters : ZeRO-3 partitions one flat tensor for each part of the model instead of every parameter: its
        bookkeeping for hundreds of small parameters took five times the arithmetic of the nano model. A part is
        gathered as a whole, so switch it off for models that do not fit on one device.
    persistent_below : parameters of fewer elements stay gathered between steps.
    bucket_elements : gradients reduced at a time.
    state_every_steps : how often the state to resume from is written.
    log_every_steps : how often a line of metrics is written.
    """

    processes: int = Field(ge=1)
    threads_per_process: int = Field(ge=1)
    max_micro_batch: int = Field(ge=1)
    flat_parameters: bool
    persistent_below: int = Field(ge=0)
    bucket_elements: int = Field(ge=1)
    state_every_steps: int = Field(ge=1)
    log_every_steps: int = Field(ge=1)


class PhaseConfig(Section):
    """What every phase has.

    Attributes
    ----------
    steps : optimizer steps; they alone decide the end.
    batch_size : clips of one optimizer step, over all processes.
    learning_rate : of the towers, after `warmup_steps` of linear rise and before `decay_steps` of linear fall to zero.
    weight_decay : decoupled, times the learning rate.
    audio_shift : shift of the audio noise schedule.
    text_dropout : share of clips trained with the null text.
    loudness_normalised : train on audio levelled to one loudness.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    decay_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    audio_shift: float = Field(gt=0)
    text_dropout: float = Field(ge=0, le=1)
    loudness_normalised: bool

    @model_validator(mode="after")
    def _rise_and_fall_fit(self) -> PhaseConfig:
        if self.warmup_steps + self.decay_steps > self.steps:
            both = self.warmup_steps + self.decay_steps
            raise ValueError(f"warmup_steps + decay_steps is {both}, expected at most steps ({self.steps})")
        return self


class AudioPhaseConfig(PhaseConfig):
    """Phase 0: the audio tower alone."""


class JointPhaseConfig(PhaseConfig):
    """A phase of both towers and the Bridge.

    Attributes
    ----------
    height, width : of the pictures, in pixels; `encode` has cached latents of that size.
    spatial_rope_scale : multiplies row and column positions; 0.5 at twice the size keeps their range.
    bridge_learning_rate : the Bridge's own.
    video_shift : shift of the video noise schedule.
    audio_loss_weight : the loss is video + this * audio.
    bridge_dropout : share of clips trained with the Bridge off, which bridge guidance needs.
    experts : `alternate` trains one expert a step, each at its own noise levels; `together` trains one video tower at
        all levels and gives both experts its weights. From scratch, together first: halved between two experts, a
        budget of nano's size taught neither (see docs/learning.md).
    """

    height: int = Field(gt=0, multiple_of=16)
    width: int = Field(gt=0, multiple_of=16)
    spatial_rope_scale: float = Field(gt=0)
    bridge_learning_rate: float = Field(gt=0)
    video_shift: float = Field(gt=0)
    audio_loss_weight: float = Field(ge=0)
    bridge_dropout: float = Field(ge=0, le=1)
    experts: Literal["together", "alternate"]


class PhasesConfig(Section):
    """The phases in the order of training."""

    audio: AudioPhaseConfig
    joint1: JointPhaseConfig
    joint2: JointPhaseConfig
    joint3: JointPhaseConfig

    @model_validator(mode="after")
    def _experts_part_once(self) -> PhasesConfig:
        for earlier, later in (("joint1", "joint2"), ("joint2", "joint3")):
            if getattr(self, earlier).experts == "alternate" and getattr(self, later).experts == "together":
                raise ValueError(
                    f"{later}.experts is together after {earlier}.experts alternate, expected alternate: experts that "
                    "have parted cannot be one again"
                )
        return self


class TrainConfig(Section):
    """Optimizer, validation, engine and phases."""

    optimizer: OptimizerConfig
    validation: ValidationConfig
    engine: EngineConfig
    phases: PhasesConfig

    def phase(self, name: str) -> AudioPhaseConfig | JointPhaseConfig:
        """The phase of that name."""
        phase: AudioPhaseConfig | JointPhaseConfig = getattr(self.phases, name)
        return phase

    @model_validator(mode="after")
    def _batches_divide(self) -> TrainConfig:
        for name in PhasesConfig.model_fields:
            batch_size = self.phase(name).batch_size
            if batch_size % self.engine.processes:
                raise ValueError(
                    f"phases.{name}.batch_size is {batch_size}, expected a multiple of engine.processes "
                    f"({self.engine.processes})"
                )
        return self
