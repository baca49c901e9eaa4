"""The joint step's equations, written plainly: the baseline that `mova bench step` measures against.

Reads the parameters of a `DualTower` and computes what it computes, operation by operation as the equations state it
and as the released model does it: text projections and rotation tables made anew at every step, rotations in complex
float64, norms and modulations as separate elementwise operations, attention through PyTorch's own operator. No option
that the benchmark does not need (pooled conditioning, masks, other position schemes).

Axes: b sample, l token, h head, d channel.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mova_core.models.bridge import BridgeAttention, Conditioner
from mova_core.models.dual_tower import DualTower, Expert
from mova_core.models.rope import BASE, TEMPORAL_STRIDE, Grid
from mova_core.models.tower import Block, Tower


def plain_step(
    model: DualTower,
    video_latents: torch.Tensor,
    condition: torch.Tensor,
    audio_latents: torch.Tensor,
    video_timestep: torch.Tensor,
    audio_timestep: torch.Tensor,
    text: torch.Tensor,
    *,
    expert: Expert,
    video_fps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The velocities that `DualTower.forward` gives for the same arguments, in float32 on the default options."""
    video_tower, audio_tower, bridge = model.video_tower(expert), model.audio_dit, model.dual_tower_bridge
    x = torch.cat((video_latents, condition), dim=1)
    patch = video_tower.config.patch_size
    embedding = video_tower.patch_embedding
    embedded = functional.conv3d(x, _parameter(embedding, "weight"), _parameter(embedding, "bias"), stride=patch)
    grid = (embedded.shape[2], embedded.shape[3], embedded.shape[4])
    video = embedded.flatten(2).transpose(1, 2)
    embedding = audio_tower.patch_embedding
    audio = functional.conv1d(
        audio_latents,
        _parameter(embedding, "weight"),
        _parameter(embedding, "bias"),
        stride=audio_tower.config.patch_size,
    ).transpose(1, 2)
    video_time, video_modulation = _time(video_tower, video_timestep)
    audio_time, audio_modulation = _time(audio_tower, audio_timestep)
    video_text, audio_text = _text(video_tower, text), _text(audio_tower, text)
    video_turns = _video_turns(grid, video_tower.head_dim)
    audio_turns = _turns(torch.arange(audio.shape[1], dtype=torch.float64), audio_tower.head_dim)
    for layer in range(max(video_tower.num_layers, audio_tower.num_layers)):
        if layer in bridge.layers:
            video_tables, audio_tables = _bridge_tables(model, grid, audio.shape[1], video_fps)
            to_video = bridge.audio_to_video_conditioners[str(layer)]
            to_audio = bridge.video_to_audio_conditioners[str(layer)]
            video, audio = (
                video + _conditioned(to_video, video, audio, video_tables, audio_tables),
                audio + _conditioned(to_audio, audio, video, audio_tables, video_tables),
            )
        if layer < video_tower.num_layers:
            video = _block(video_tower.blocks[layer], video, video_text, video_modulation, video_turns)
        if layer < audio_tower.num_layers:
            audio = _block(audio_tower.blocks[layer], audio, audio_text, audio_modulation, audio_turns)
    video_out, audio_out = _head(video_tower, video, video_time), _head(audio_tower, audio, audio_time)
    patches = video_out.reshape(video_out.shape[0], *grid, *patch, -1)
    velocity = patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)
    return velocity, audio_out.transpose(1, 2)


def _parameter(module: nn.Module, name: str) -> torch.Tensor:
    found = getattr(module, name)
    assert isinstance(found, torch.Tensor)
    return found


def _linear(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, _parameter(layer, "weight"), _parameter(layer, "bias"))


def _rms_norm(layer: nn.Module, x: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps) * _parameter(layer, "weight")


def _time(tower: Tower, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    half = tower.freq_dim // 2
    frequencies = torch.pow(BASE, -torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(timestep.double(), frequencies)
    sinusoid = torch.cat((angles.cos(), angles.sin()), dim=1).float()
    first, _, second = tower.time_embedding
    embedding = _linear(second, functional.silu(_linear(first, sinusoid)))
    return embedding, _linear(tower.time_projection[1], functional.silu(embedding)).reshape(len(timestep), 6, -1)


def _text(tower: Tower, text: torch.Tensor) -> torch.Tensor:
    first, _, second = tower.text_embedding
    return _linear(second, functional.gelu(_linear(first, text), approximate="tanh"))


def _turns(positions: torch.Tensor, channels: int) -> torch.Tensor:
    angles = torch.outer(positions, 1.0 / BASE ** (torch.arange(0, channels, 2, dtype=torch.float64) / channels))
    return torch.polar(torch.ones_like(angles), angles)


def _video_turns(grid: Grid, head_dim: int) -> torch.Tensor:
    frames, rows, columns = grid
    third = head_dim // 3
    by_frame = _turns(torch.arange(frames, dtype=torch.float64), head_dim - 2 * third)
    by_row = _turns(torch.arange(rows, dtype=torch.float64), third)
    by_column = _turns(torch.arange(columns, dtype=torch.float64), third)
    parts = (
        by_frame.view(frames, 1, 1, -1).expand(*grid, -1),
        by_row.view(1, rows, 1, -1).expand(*grid, -1),
        by_column.view(1, 1, columns, -1).expand(*grid, -1),
    )
    return torch.cat(parts, dim=-1).flatten(0, 2)


def _turned(x: torch.Tensor, turns: torch.Tensor, num_heads: int) -> torch.Tensor:
    pairs = torch.view_as_complex(x.double().reshape(*x.shape[:2], num_heads, -1, 2))
    return torch.view_as_real(pairs * turns[:, None]).flatten(2).to(x.dtype)


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
    q, k, v = (part.reshape(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _block(
    block: nn.Module, x: torch.Tensor, text: torch.Tensor, modulation: torch.Tensor, turns: torch.Tensor
) -> torch.Tensor:
    assert isinstance(block, Block)
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (block.modulation + modulation).chunk(6, dim=1)
    own, cross, heads, width = block.self_attn, block.cross_attn, block.self_attn.num_heads, (x.shape[-1],)
    eps = block.norm1.eps
    y = functional.layer_norm(x, width, eps=eps) * (1 + scale_1) + shift_1
    q = _turned(_rms_norm(own.norm_q, _linear(own.q, y), own.norm_q.eps), turns, heads)
    k = _turned(_rms_norm(own.norm_k, _linear(own.k, y), own.norm_k.eps), turns, heads)
    x = x + gate_1 * _linear(own.o, _attention(q, k, _linear(own.v, y), heads))
    y = functional.layer_norm(x, width, block.norm3.weight, block.norm3.bias, eps)
    q = _rms_norm(cross.norm_q, _linear(cross.q, y), cross.norm_q.eps)
    k = _rms_norm(cross.norm_k, _linear(cross.k, text), cross.norm_k.eps)
    x = x + _linear(cross.o, _attention(q, k, _linear(cross.v, text), heads))
    y = functional.layer_norm(x, width, eps=eps) * (1 + scale_2) + shift_2
    first, _, second = block.ffn
    return x + gate_2 * _linear(second, functional.gelu(_linear(first, y), approximate="tanh"))


def _head(tower: Tower, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    shift, scale = (tower.head.modulation + time.unsqueeze(1)).chunk(2, dim=1)
    y = functional.layer_norm(x, (x.shape[-1],), eps=tower.head.norm.eps)
    return _linear(tower.head.head, y * (1 + scale) + shift)


def _bridge_tables(
    model: DualTower, grid: Grid, num_audio_tokens: int, video_fps: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    config = model.config.bridge
    frames = torch.arange(grid[0], dtype=torch.float32) * (config.audio_fps * TEMPORAL_STRIDE / video_fps)
    video = _cos_sin(frames.repeat_interleave(grid[1] * grid[2]), config.head_dim)
    return video, _cos_sin(torch.arange(num_audio_tokens, dtype=torch.float32), config.head_dim)


def _cos_sin(positions: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    half = torch.outer(positions, 1.0 / BASE ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    angles = torch.cat((half, half), dim=-1)
    return angles.cos(), angles.sin()


def _halves_turned(x: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cos, sin = (table[None, :, None] for table in tables)
    heads = x.reshape(*x.shape[:2], -1, cos.shape[-1])
    first, second = heads.chunk(2, dim=-1)
    turned: torch.Tensor = heads * cos + torch.cat((-second, first), dim=-1) * sin
    return turned.flatten(2)


def _conditioned(
    conditioner: nn.Module,
    x: torch.Tensor,
    other: torch.Tensor,
    x_tables: tuple[torch.Tensor, torch.Tensor],
    other_tables: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    assert isinstance(conditioner, Conditioner)
    inner: BridgeAttention = conditioner.inner
    norm = conditioner.y_norm
    y = functional.layer_norm(other, (other.shape[-1],), norm.weight, norm.bias, norm.eps)
    q = _halves_turned(_rms_norm(inner.norm_q, _linear(inner.q, x), inner.norm_q.eps), x_tables)
    k = _halves_turned(_rms_norm(inner.norm_k, _linear(inner.k, y), inner.norm_k.eps), other_tables)
    out = _attention(q, k, _linear(inner.v, y), x.shape[-1] // inner.head_dim)
    return _linear(inner.o, out)
