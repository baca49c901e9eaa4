"""The model's shape. Field names follow the release's component configurations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mova_core.config.base import Section

NUM_TRAIN_TIMESTEPS = 1000
"""The model reads a noise level sigma in [0, 1] as the timestep sigma times this."""

EVEN_THIRDS = "12, 20, 24, 32, 96, 128"


class VideoDitConfig(Section):
    """A video tower; channels and text width come from the codecs.

    `spatial_rope_scale` multiplies row and column positions (1 in the release); a later training phase at another
    resolution may set its own.
    """

    dim: int = Field(gt=0)
    ffn_dim: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    freq_dim: int = Field(gt=0, multiple_of=2)
    patch_size: tuple[int, int, int]
    eps: float = Field(gt=0)
    spatial_rope_scale: float = Field(gt=0)

    @model_validator(mode="after")
    def _heads_split_into_three_axes(self) -> VideoDitConfig:
        if self.dim % self.num_heads:
            raise ValueError(f"dim is {self.dim} and num_heads {self.num_heads}, expected a multiple")
        head_dim = self.dim // self.num_heads
        if head_dim % 2 or (head_dim // 3) % 2:
            raise ValueError(f"head_dim (dim / num_heads) is {head_dim}, expected one of {EVEN_THIRDS}")
        return self


class AudioDitConfig(Section):
    """The audio tower; channels and text width come from the codecs."""

    dim: int = Field(gt=0)
    ffn_dim: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    freq_dim: int = Field(gt=0, multiple_of=2)
    eps: float = Field(gt=0)

    @model_validator(mode="after")
    def _even_heads(self) -> AudioDitConfig:
        if self.dim % (2 * self.num_heads):
            raise ValueError(f"dim is {self.dim} and num_heads {self.num_heads}, expected heads of even width")
        return self


class BridgeSection(Section):
    """The Bridge: where and how the towers exchange."""

    head_dim: int = Field(gt=0, multiple_of=2)
    interaction_strategy: Literal["full", "shallow_focus", "distributed", "progressive", "custom"]
    apply_cross_rope: bool
    apply_first_frame_bias_in_rope: bool
    trainable_condition_scale: bool
    pooled_adaln: bool


class ModelConfig(Section):
    """Video tower (one or two experts), audio tower, Bridge.

    Attributes
    ----------
    num_experts : 2 (a high-noise and a low-noise video tower) or 1.
    boundary_ratio : the high-noise expert serves sigma from here upwards.
    compute_dtype : of matrix products; `auto` is bfloat16 where the processor multiplies it in hardware, else float32.
    kernels : `reference`, `triton`, or `auto` (the fastest that runs here).
    """

    num_experts: Literal[1, 2]
    boundary_ratio: float = Field(ge=0, le=1)
    compute_dtype: Literal["auto", "float32", "bfloat16"]
    kernels: Literal["auto", "reference", "triton"]
    video_dit: VideoDitConfig
    audio_dit: AudioDitConfig
    dual_tower_bridge: BridgeSection

    @model_validator(mode="after")
    def _bridge_heads_fit_both_towers(self) -> ModelConfig:
        for name, dim in (("video_dit", self.video_dit.dim), ("audio_dit", self.audio_dit.dim)):
            if dim % self.dual_tower_bridge.head_dim:
                raise ValueError(f"{name}.dim is {dim}, expected a multiple of the Bridge's head_dim")
        return self
