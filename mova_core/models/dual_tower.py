"""The joint model: two towers and a Bridge, with the one forward that training and sampling share."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from kernels.dispatch import Request
from mova_core.config.model import NUM_TRAIN_TIMESTEPS
from mova_core.models.audio_tower import AudioTower, AudioTowerConfig
from mova_core.models.bridge import Bridge, BridgeConfig
from mova_core.models.context import TextContext
from mova_core.models.sequence_parallel import Part, part_of
from mova_core.models.video_tower import VideoTower, VideoTowerConfig

Expert = Literal["high_noise", "low_noise"]


@dataclasses.dataclass(frozen=True)
class DualTowerConfig:
    """Shape of the joint model.

    Attributes
    ----------
    num_experts : 2 video towers, one for each side of the boundary, or 1 that serves all noise levels.
    boundary_ratio : the high-noise expert serves timesteps from boundary_ratio * 1000 upwards.
    """

    video: VideoTowerConfig
    audio: AudioTowerConfig
    bridge: BridgeConfig
    num_experts: Literal[1, 2] = 2
    boundary_ratio: float = 0.9


class DualTower(nn.Module):
    """Video tower(s), audio tower and Bridge; parameter names are the release's.

    `video_dit` is the high-noise expert, `video_dit_2` the low-noise one (None with one expert).
    """

    def __init__(self, config: DualTowerConfig, kernels: Request = "auto") -> None:
        super().__init__()
        check_widths(config)
        self.config = config
        self.video_dit = VideoTower(config.video, kernels)
        self.video_dit_2 = VideoTower(config.video, kernels) if config.num_experts == 2 else None
        self.audio_dit = AudioTower(config.audio, kernels)
        self.dual_tower_bridge = Bridge(config.bridge, kernels)
        self._group: dist.ProcessGroup | None = None
        self._num_processes, self._rank = 1, 0

    def expert_at(self, video_timestep: float) -> Expert:
        """Which expert serves a timestep: the low-noise one strictly below boundary_ratio * 1000."""
        return "low_noise" if video_timestep < self.config.boundary_ratio * NUM_TRAIN_TIMESTEPS else "high_noise"

    def video_tower(self, expert: Expert) -> VideoTower:
        """The tower of that expert; with one expert, the only one."""
        if expert == "low_noise" and self.video_dit_2 is not None:
            return self.video_dit_2
        return self.video_dit

    def forward(
        self,
        video_latents: torch.Tensor,
        condition: torch.Tensor | None,
        audio_latents: torch.Tensor,
        video_timestep: torch.Tensor,
        audio_timestep: torch.Tensor,
        text: torch.Tensor | TextContext,
        *,
        expert: Expert,
        bridge: bool | torch.Tensor = True,
        video_fps: float,
        as_released: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Velocities of both modalities.

        Parameters
        ----------
        video_latents : noisy, `[b, 16, F, h, w]`.
        condition : `[b, 20, F, h, w]`, 4 mask channels (1 in the given first latent frame) and its latent; None for a
            tower without condition channels.
        audio_latents : noisy, `[b, c, length]`.
        video_timestep, audio_timestep : `[b]`, or `[1]` for all samples, in 0..1000; the two may differ.
        text : embeddings `[b, m, text_dim]`, rows past a prompt's end zero; or a context of them, to share over steps.
        expert : which video tower serves the batch.
        bridge : False for no cross-modal injection at all; a bool `[b]` switches it sample by sample.
        video_fps : frames a second, from which the Bridge derives its common clock.
        as_released : repeat two errors of the release, only to compare with it: it scales what the Bridge adds by 1,
            whatever scale was learned, and skips audio layers beyond the video tower's depth.

        Returns
        -------
        (video velocity `[b, 16, F, h, w]`, audio velocity `[b, c, length]`).
        """
        tower, audio_tower = self.video_tower(expert), self.audio_dit
        latents = video_latents if condition is None else torch.cat((video_latents, condition), dim=1)
        video, grid = tower.embed(latents)
        audio = audio_tower.embed(audio_latents)
        video_embedding, video_modulation = tower.embed_time(video_timestep)
        audio_embedding, audio_modulation = audio_tower.embed_time(audio_timestep)
        context = TextContext(text, audio_tower.product_dtype) if isinstance(text, torch.Tensor) else text
        video_context, audio_context = tower.context(context), audio_tower.context(context)
        video_rotation, audio_rotation = tower.rotation(video, grid), audio_tower.rotation(audio)
        parts = self._parts(video.shape[1], audio.shape[1])
        video_part, audio_part = parts or (None, None)
        mask = bridge if isinstance(bridge, torch.Tensor) else None
        turns = self.dual_tower_bridge.rotations(grid, audio.shape[1], video_fps, like=video)
        if parts is not None:
            video, audio = parts[0].of(video), parts[1].of(audio)
        scales = dict.fromkeys(("audio_to_video_scale", "video_to_audio_scale"), 1.0) if as_released else {}
        for layer in range(tower.num_layers if as_released else max(tower.num_layers, audio_tower.num_layers)):
            if bridge is not False and layer in self.dual_tower_bridge.layers:
                video, audio = self.dual_tower_bridge(
                    layer, video, audio, turns, grid[0], parts=parts, mask=mask, **scales
                )
            if layer < tower.num_layers:
                video = tower.blocks[layer](video, video_context, video_modulation, video_rotation, video_part)
            if layer < audio_tower.num_layers:
                audio = audio_tower.blocks[layer](audio, audio_context, audio_modulation, audio_rotation, audio_part)
        if parts is not None:
            video, audio = parts[0].gathered(video), parts[1].gathered(audio)
        return tower.finish(video, video_embedding, grid), audio_tower.finish(audio, audio_embedding)

    def spread_over_processes(self, group: dist.ProcessGroup | None = None) -> None:
        """From now on every process of the group takes a share of each sample's tokens. For sampling: no gradients.

        All of them must call `forward` with the same arguments, and all get the whole velocities.

        Raises
        ------
        ValueError : if the processes do not divide the heads of the towers and of the Bridge.
        """
        processes = dist.get_world_size(group)
        check_heads(self.config, processes)
        self._group, self._num_processes, self._rank = group, processes, dist.get_rank(group)

    def _parts(self, num_video_tokens: int, num_audio_tokens: int) -> tuple[Part, Part] | None:
        if self._num_processes == 1:
            return None
        if torch.is_grad_enabled():
            raise RuntimeError("tokens are spread over processes for sampling; gradients are not exchanged")
        return (
            part_of(num_video_tokens, self._num_processes, self._rank, self._group),
            part_of(num_audio_tokens, self._num_processes, self._rank, self._group),
        )

    def audio_only(self, audio_latents: torch.Tensor, audio_timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The audio tower alone (phase 0): the velocity `[b, c, length]`."""
        velocity: torch.Tensor = self.audio_dit(audio_latents, audio_timestep, text)
        return velocity

    def set_spatial_rope_scale(self, scale: float) -> None:
        """Sets what multiplies spatial positions in both experts; saved with the model."""
        video = dataclasses.replace(self.config.video, spatial_rope_scale=scale)
        self.config = dataclasses.replace(self.config, video=video)
        for tower in (self.video_dit, self.video_dit_2):
            if tower is not None:
                tower.config = video


def check_widths(config: DualTowerConfig) -> None:
    """Holds the Bridge's idea of the towers against the towers.

    Raises
    ------
    ValueError : if a width or depth differs, naming both numbers.
    """
    bridge, video, audio = config.bridge, config.video, config.audio
    pairs = {
        "visual_hidden_dim": (bridge.visual_hidden_dim, video.dim),
        "audio_hidden_dim": (bridge.audio_hidden_dim, audio.dim),
        "visual_layers": (bridge.visual_layers, video.num_layers),
        "audio_layers": (bridge.audio_layers, audio.num_layers),
    }
    for name, (stated, actual) in pairs.items():
        if stated != actual:
            raise ValueError(f"the Bridge's {name} is {stated}, the tower's is {actual}; expected them equal")


def check_heads(config: DualTowerConfig, num_processes: int) -> None:
    """Whether every process can take an equal share of the heads.

    Raises
    ------
    ValueError : if not, naming both numbers.
    """
    heads = {
        "video heads": config.video.num_heads,
        "audio heads": config.audio.num_heads,
        "video heads of the Bridge": config.video.dim // config.bridge.head_dim,
        "audio heads of the Bridge": config.audio.dim // config.bridge.head_dim,
    }
    for name, count in heads.items():
        if count % num_processes:
            raise ValueError(f"{count} {name} for {num_processes} processes")
