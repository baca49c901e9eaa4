"""The Bridge: cross-attention between the towers at chosen layers, both ways at once (report section 3.2).

Both directions read the states from before the layer. Each adds its output, scaled, to the modality that asked.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import nn

from kernels.aligned_rope import Rotation, norm_rotate
from kernels.bridge_attention import bridge_attention
from kernels.dispatch import Request
from mova_core.models.frame_pooling import AdaptiveNorm, FramePooling, pooling_heads
from mova_core.models.layers import LayerNorm, Linear, RMSNorm, wide_dtype
from mova_core.models.rope import Grid, aligned_rotations, spread_over_audio
from mova_core.models.sequence_parallel import Part

EPS = 1e-6

Strategy = Literal["full", "shallow_focus", "distributed", "progressive", "custom"]
Parts = tuple[Part, Part] | None
"""The tokens of two sequences that this process holds; None stands for all tokens."""

Rotations = tuple[Rotation | None, Rotation | None]
"""Of the video's and of the audio's tokens; None without RoPE."""

CUSTOM_LAYERS = (0, 2, 4, 6, 8, 12, 16, 20)
PROGRESSIVE_DENSE_LAYERS = 8
SPARSE_STRIDE = 3


@dataclasses.dataclass(frozen=True)
class BridgeConfig:
    """Shape of the Bridge; names follow the release's dual_tower_bridge/config.json.

    Attributes
    ----------
    visual_layers, audio_layers, visual_hidden_dim, audio_hidden_dim : depth and width of the towers.
    audio_fps : audio latents a second.
    interaction_strategy : see `interaction_layers`.
    apply_cross_rope : whether queries and keys are rotated by their time.
    apply_first_frame_bias_in_rope : see `mova_core.models.rope.video_positions`.
    trainable_condition_scale : whether one learned number scales what both directions add.
    pooled_adaln : whether audio queries are first modulated by a pooled state of their video frame.
    """

    visual_layers: int
    audio_layers: int
    visual_hidden_dim: int
    audio_hidden_dim: int
    audio_fps: float
    head_dim: int
    interaction_strategy: Strategy = "full"
    apply_cross_rope: bool = True
    apply_first_frame_bias_in_rope: bool = False
    trainable_condition_scale: bool = False
    pooled_adaln: bool = False


def interaction_layers(strategy: Strategy, visual_layers: int, audio_layers: int) -> tuple[int, ...]:
    """The layers at which the towers interact, of those that both have.

    `full`: all. `shallow_focus`: the first third. `distributed`: every third. `progressive`: the first eight, then
    every third. `custom`: the release's list.
    """
    shared = min(visual_layers, audio_layers)
    chosen = {
        "full": range(shared),
        "shallow_focus": range(shared // 3),
        "distributed": range(0, shared, SPARSE_STRIDE),
        "progressive": (*range(PROGRESSIVE_DENSE_LAYERS), *range(PROGRESSIVE_DENSE_LAYERS, shared, SPARSE_STRIDE)),
        "custom": CUSTOM_LAYERS,
    }[strategy]
    return tuple(layer for layer in chosen if layer < shared)


class BridgeAttention(nn.Module):
    """Queries of one modality against keys and values of the other; heads of the asking width."""

    def __init__(self, dim: int, condition_dim: int, head_dim: int) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(f"the tower is {dim} wide and head_dim is {head_dim}; expected a multiple")
        self.head_dim = head_dim
        self.q = Linear(dim, dim)
        self.k = Linear(condition_dim, dim)
        self.v = Linear(condition_dim, dim)
        self.o = Linear(dim, dim)
        self.norm_q = RMSNorm(dim, EPS)
        self.norm_k = RMSNorm(dim, EPS)

    def forward(
        self,
        x: torch.Tensor,
        condition: torch.Tensor,
        x_rotation: Rotation | None,
        condition_rotation: Rotation | None,
        kernels: Request,
        parts: Parts = None,
    ) -> torch.Tensor:
        """`x` `[b, l, dim]`, `condition` `[b, m, condition_dim]`; `[b, l, dim]`. `parts` are those of both."""
        q_part, k_part = parts or (None, None)
        q = self._heads(self.q(x), self.norm_q, x_rotation, kernels, q_part)
        k = self._heads(self.k(condition), self.norm_k, condition_rotation, kernels, k_part)
        v = self.v(condition).unflatten(-1, (-1, self.head_dim))
        if q_part is None or k_part is None:
            out = bridge_attention(q, k, v, backend=kernels)
        else:
            q, k, v = q_part.by_heads(q), k_part.by_heads(k), k_part.by_heads(v)
            out = q_part.by_tokens(bridge_attention(q, k, v, backend=kernels))
        projected: torch.Tensor = self.o(out.flatten(2))
        return projected

    def _heads(
        self, projected: torch.Tensor, norm: RMSNorm, rotation: Rotation | None, kernels: Request, part: Part | None
    ) -> torch.Tensor:
        num_heads = projected.shape[-1] // self.head_dim
        if rotation is None:
            normed: torch.Tensor = norm(projected)
            return normed.view(*normed.shape[:2], num_heads, -1)
        first = 0 if part is None else part.first_token
        return norm_rotate(
            projected, norm.weight, rotation, num_heads=num_heads, eps=norm.eps, first_token=first, backend=kernels
        )


class Conditioner(nn.Module):
    """One direction at one layer: what the other modality adds to `x`, before scaling."""

    def __init__(self, dim: int, condition_dim: int, head_dim: int, pooled: bool) -> None:
        super().__init__()
        self.y_norm = LayerNorm(condition_dim, eps=EPS)
        self.inner = BridgeAttention(dim, condition_dim, head_dim)
        self.per_frame_pooling: FramePooling | None = None
        self.adaln: AdaptiveNorm | None = None
        if pooled:
            self.per_frame_pooling = FramePooling(condition_dim, pooling_heads(dim, condition_dim, head_dim))
            self.adaln = AdaptiveNorm(dim, condition_dim)

    def forward(
        self,
        x: torch.Tensor,
        condition: torch.Tensor,
        x_rotation: Rotation | None,
        condition_rotation: Rotation | None,
        num_frames: int,
        kernels: Request,
        parts: Parts = None,
    ) -> torch.Tensor:
        """`x` `[b, l, dim]`, `condition` `[b, m, condition_dim]`; `num_frames` counts the video's latent frames.

        `parts` are those of x and condition, where this process holds parts of them.
        """
        if self.per_frame_pooling is not None and self.adaln is not None:
            video = condition if parts is None else parts[1].gathered(condition)
            num_audio_tokens = x.shape[1] if parts is None else sum(parts[0].lengths)
            pooled = spread_over_audio(self.per_frame_pooling(video, num_frames), num_audio_tokens)
            x = self.adaln(x, pooled if parts is None else parts[0].of(pooled))
        added: torch.Tensor = self.inner(x, self.y_norm(condition), x_rotation, condition_rotation, kernels, parts)
        return added


class Bridge(nn.Module):
    """All interaction layers (the release's `DualTowerConditionalBridge`)."""

    def __init__(self, config: BridgeConfig, kernels: Request = "auto") -> None:
        super().__init__()
        self.config = config
        self.kernels: Request = kernels
        self.layers = interaction_layers(config.interaction_strategy, config.visual_layers, config.audio_layers)
        video, audio, head_dim = config.visual_hidden_dim, config.audio_hidden_dim, config.head_dim
        self.audio_to_video_conditioners = nn.ModuleDict(
            {str(layer): Conditioner(video, audio, head_dim, pooled=False) for layer in self.layers}
        )
        self.video_to_audio_conditioners = nn.ModuleDict(
            {str(layer): Conditioner(audio, video, head_dim, pooled=config.pooled_adaln) for layer in self.layers}
        )
        self.condition_scale = nn.Parameter(torch.ones(1)) if config.trainable_condition_scale else None

    def rotations(self, grid: Grid, num_audio_tokens: int, video_fps: float, like: torch.Tensor) -> Rotations:
        """How (video, audio) tokens turn, on the device of `like`."""
        config = self.config
        if not config.apply_cross_rope:
            return None, None
        return aligned_rotations(
            grid,
            num_audio_tokens,
            config.head_dim,
            video_fps,
            config.audio_fps,
            config.apply_first_frame_bias_in_rope,
            like.device,
            wide_dtype(like),
        )

    def forward(
        self,
        layer: int,
        video: torch.Tensor,
        audio: torch.Tensor,
        rotations: Rotations,
        num_frames: int,
        *,
        parts: Parts = None,
        mask: torch.Tensor | None = None,
        audio_to_video_scale: float | torch.Tensor | None = None,
        video_to_audio_scale: float | torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of both modalities after the exchange at `layer`; unchanged where there is none.

        Parameters
        ----------
        video, audio : tokens `[b, l, visual_hidden_dim]` and `[b, m, audio_hidden_dim]`.
        rotations : from `rotations`.
        num_frames : latent frames of the video.
        parts : of video and audio tokens, where this process holds parts of them.
        mask : bool `[b]`; nothing is added to samples where it is False.
        audio_to_video_scale, video_to_audio_scale : factors on what is added; None stands for the learned scale, or 1.
        """
        if layer not in self.layers:
            return video, audio
        video_rotation, audio_rotation = rotations
        to_video = self.audio_to_video_conditioners[str(layer)](
            video, audio, video_rotation, audio_rotation, num_frames, self.kernels, parts
        )
        to_audio = self.video_to_audio_conditioners[str(layer)](
            audio, video, audio_rotation, video_rotation, num_frames, self.kernels, parts and (parts[1], parts[0])
        )
        return (
            video + self._scaled(to_video, audio_to_video_scale, mask),
            audio + self._scaled(to_audio, video_to_audio_scale, mask),
        )

    def _scaled(
        self, added: torch.Tensor, scale: float | torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        if scale is None:
            scale = self.condition_scale
        if scale is not None:
            added = added * scale
        # masked_fill, not a product: what is off must not leak, not even as 0 * inf.
        return added if mask is None else added.masked_fill(~mask[:, None, None], 0)
