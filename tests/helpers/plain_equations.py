"""The joint model's equations, written a second time and plainly, over named parameters: what the models are held to.

Nothing here calls the models' own code. In bfloat16 every operation rounds where a plain implementation rounds: norms
and time embeddings run in float32, the rest in the parameters' dtype. Axes: b sample, l token, h head, d channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTowerConfig
from mova_core.models.video_tower import VideoTowerConfig

Weights = Mapping[str, Tensor]
Tables = tuple[Tensor, Tensor] | None
BASE = 10000.0
EPS = 1e-6


def part(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(f"{prefix}."): value for name, value in weights.items() if name.startswith(f"{prefix}.")}


def joint_step(
    weights: Weights,
    config: DualTowerConfig,
    latents: Tensor,
    audio_latents: Tensor,
    timesteps: tuple[Tensor, Tensor],
    text: Tensor,
    fps: float,
    interacting: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """Velocities of (video, audio); `latents` `[b, in_dim, F, h, w]` with their condition, `interacting` the layers."""
    tower, sound, bridge = (part(weights, name) for name in ("video_dit", "audio_dit", "dual_tower_bridge"))
    dtype = tower["head.head.bias"].dtype
    patch = config.video.patch_size
    embedded = functional.conv3d(latents, tower["patch_embedding.weight"], tower["patch_embedding.bias"], stride=patch)
    grid = (embedded.shape[2], embedded.shape[3], embedded.shape[4])
    video = embedded.flatten(2).transpose(1, 2)
    bias = sound["patch_embedding.bias"]
    audio = functional.conv1d(audio_latents, sound["patch_embedding.weight"], bias, stride=config.audio.patch_size)
    audio = audio.transpose(1, 2)
    video_time, audio_time = (
        times(own, shape.freq_dim, moment, dtype)
        for own, shape, moment in zip((tower, sound), (config.video, config.audio), timesteps, strict=True)
    )
    turns = video_angles(grid, config.video), audio_angles(audio.shape[1], config.audio)
    tables = bridge_tables(config.bridge, grid, audio.shape[1], fps, dtype)
    for layer in range(max(config.video.num_layers, config.audio.num_layers)):
        if layer in interacting:
            video, audio = exchanged(bridge, config.bridge, layer, video, audio, tables, grid[0])
        if layer < config.video.num_layers:
            video = block(part(tower, f"blocks.{layer}"), config.video, video, texts(tower, text), video_time, turns[0])
        if layer < config.audio.num_layers:
            audio = block(part(sound, f"blocks.{layer}"), config.audio, audio, texts(sound, text), audio_time, turns[1])
    pixels = head(tower, video, video_time[0], config.video.eps).unflatten(2, (*patch, -1)).unflatten(1, grid)
    whole = torch.einsum("bfhwxyzc->bcfxhywz", pixels).flatten(6).flatten(4, 5).flatten(2, 3)
    samples = head(sound, audio, audio_time[0], config.audio.eps).unflatten(2, (*config.audio.patch_size, -1))
    return whole, torch.einsum("blpc->bclp", samples).flatten(2)


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide / (wide.square().mean(dim=-1, keepdim=True) + eps).sqrt()).to(x.dtype) * weight


def normed(x: Tensor, eps: float, weights: Weights | None = None, name: str = "") -> Tensor:
    both = (None, None) if weights is None else (weights[f"{name}.weight"], weights[f"{name}.bias"])
    return functional.layer_norm(x, x.shape[-1:], *both, eps)


def attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    q, k, v = (x.unflatten(2, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), dim=-1)
    return (scores @ v).transpose(1, 2).flatten(2)


def times(weights: Weights, freq_dim: int, timestep: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(dtype, torch.float32)
    own = {name: value.to(wide) for name, value in weights.items() if name.startswith("time_")}
    frequencies = BASE ** (-torch.arange(freq_dim // 2, dtype=torch.float64) / (freq_dim // 2))
    phase = torch.outer(timestep.double(), frequencies)
    hidden = functional.silu(linear(own, "time_embedding.0", torch.cat((phase.cos(), phase.sin()), dim=1).to(wide)))
    embedding = linear(own, "time_embedding.2", hidden)
    modulation = linear(own, "time_projection.1", functional.silu(embedding)).unflatten(1, (6, -1))
    return embedding.to(dtype), modulation.to(dtype)


def texts(weights: Weights, text: Tensor) -> Tensor:
    hidden = functional.gelu(linear(weights, "text_embedding.0", text), approximate="tanh")
    return linear(weights, "text_embedding.2", hidden)


def angles(positions: Tensor, channels: int) -> Tensor:
    return torch.outer(positions, 1 / BASE ** (torch.arange(0, channels, 2, dtype=positions.dtype) / channels))


def video_angles(grid: tuple[int, int, int], config: VideoTowerConfig) -> Tensor:
    width = config.dim // config.num_heads
    split = (width - 2 * (width // 3), width // 3, width // 3)
    places = torch.cartesian_prod(*(torch.arange(extent, dtype=torch.float64) for extent in grid))
    return torch.cat([angles(places[:, axis], channels) for axis, channels in enumerate(split)], dim=1)


def audio_angles(length: int, config: AudioTowerConfig) -> Tensor:
    width, positions = config.dim // config.num_heads, torch.arange(length, dtype=torch.float64)
    if config.vae_type == "dac":
        return angles(positions, width)
    turned = angles(positions * 4 / (44100 / 2048), width - 2 * (width // 3))
    return functional.pad(turned, (0, width // 2 - turned.shape[1]))


def turned_pairs(x: Tensor, by: Tensor, num_heads: int) -> Tensor:
    heads = x.double().unflatten(2, (num_heads, -1, 2))
    first, second = heads.unbind(-1)
    cos, sin = by.cos()[:, None], by.sin()[:, None]
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(2).to(x.dtype)


def block(
    weights: Weights,
    config: VideoTowerConfig | AudioTowerConfig,
    x: Tensor,
    text: Tensor,
    time: tuple[Tensor, Tensor],
    turns: Tensor,
) -> Tensor:
    heads, eps = config.num_heads, config.eps
    modulation = weights["modulation"] + time[1]
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (modulation[:, row : row + 1] for row in range(6))
    y = normed(x, eps) * (1 + scale_1) + shift_1
    q, k = (
        turned_pairs(
            rms_norm(linear(weights, f"self_attn.{each}", y), weights[f"self_attn.norm_{each}.weight"], eps),
            turns,
            heads,
        )
        for each in "qk"
    )
    x = x + gate_1 * linear(weights, "self_attn.o", attention(q, k, linear(weights, "self_attn.v", y), heads))
    q = rms_norm(
        linear(weights, "cross_attn.q", normed(x, eps, weights, "norm3")), weights["cross_attn.norm_q.weight"], eps
    )
    k = rms_norm(linear(weights, "cross_attn.k", text), weights["cross_attn.norm_k.weight"], eps)
    x = x + linear(weights, "cross_attn.o", attention(q, k, linear(weights, "cross_attn.v", text), heads))
    y = functional.gelu(linear(weights, "ffn.0", normed(x, eps) * (1 + scale_2) + shift_2), approximate="tanh")
    return x + gate_2 * linear(weights, "ffn.2", y)


def head(weights: Weights, x: Tensor, embedding: Tensor, eps: float) -> Tensor:
    shift, scale = (weights["head.modulation"] + embedding[:, None]).chunk(2, dim=1)
    return linear(weights, "head.head", normed(x, eps) * (1 + scale) + shift)


def bridge_tables(
    config: BridgeConfig, grid: tuple[int, int, int], num_audio: int, fps: float, dtype: torch.dtype
) -> tuple[Tables, Tables]:
    if not config.apply_cross_rope:
        return None, None
    frames = torch.arange(grid[0]).float()
    if config.apply_first_frame_bias_in_rope:
        places = torch.where(frames > 0, (frames - 1) * (4 / fps) + 1 / fps, 0) * config.audio_fps
    else:
        places = frames * (config.audio_fps / (fps / 4))
    by_token = places.repeat_interleave(grid[1] * grid[2]), torch.arange(num_audio).float()
    video, audio = (angles(positions, config.head_dim) for positions in by_token)
    return (video.cos().to(dtype), video.sin().to(dtype)), (audio.cos().to(dtype), audio.sin().to(dtype))


def turned_halves(x: Tensor, tables: Tables, head_dim: int) -> Tensor:
    if tables is None:
        return x
    first, second = x.unflatten(2, (-1, head_dim)).chunk(2, dim=3)
    cos, sin = (table[:, None] for table in tables)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=3).flatten(2)


def exchanged(
    weights: Weights,
    config: BridgeConfig,
    layer: int,
    video: Tensor,
    audio: Tensor,
    tables: tuple[Tables, Tables],
    num_frames: int,
) -> tuple[Tensor, Tensor]:
    scale = weights.get("condition_scale", video.new_ones(1))
    to_video = part(weights, f"audio_to_video_conditioners.{layer}")
    to_audio = part(weights, f"video_to_audio_conditioners.{layer}")
    asking = audio
    if config.pooled_adaln:
        asking = pooled_norm(to_audio, audio, video, num_frames, config.audio_hidden_dim // config.head_dim)
    return (
        video + scale * conditioned(to_video, video, audio, tables, config.head_dim),
        audio + scale * conditioned(to_audio, asking, video, tables[::-1], config.head_dim),
    )


def conditioned(weights: Weights, x: Tensor, other: Tensor, tables: tuple[Tables, ...], head_dim: int) -> Tensor:
    other = normed(other, EPS, weights, "y_norm")
    q, k = (
        turned_halves(
            rms_norm(linear(weights, f"inner.{each}", of), weights[f"inner.norm_{each}.weight"], EPS), turns, head_dim
        )
        for each, of, turns in zip("qk", (x, other), tables, strict=True)
    )
    attended = attention(q, k, linear(weights, "inner.v", other), x.shape[2] // head_dim)
    return linear(weights, "inner.o", attended)


def pooled_norm(weights: Weights, audio: Tensor, video: Tensor, num_frames: int, num_heads: int) -> Tensor:
    """Audio normed, scaled and shifted by its video frame's pooled state, which is interpolated between frames."""
    pooling, width = part(weights, "per_frame_pooling"), video.shape[2]
    tokens = video.unflatten(1, (num_frames, -1)).flatten(0, 1)
    rows = zip(
        pooling["attention.in_proj_weight"].split(width), pooling["attention.in_proj_bias"].split(width), strict=True
    )
    asked = (pooling["probe"].expand(len(tokens), -1, -1), tokens, tokens)
    q, k, v = (functional.linear(of, *both) for of, both in zip(asked, rows, strict=True))
    states = normed(
        linear(pooling, "attention.out_proj", attention(q, k, v, num_heads))[:, 0], EPS, pooling, "layernorm"
    )
    states = states.unflatten(0, (-1, num_frames))
    length = audio.shape[1]
    places = ((torch.arange(length).double() + 0.5) * num_frames / length - 0.5).clamp(0, num_frames - 1)
    below, above = places.floor().long(), places.ceil().long()
    share = (places - below)[:, None].to(states.dtype)
    spread = states[:, below] * (1 - share) + states[:, above] * share
    scale, shift = linear(weights, "adaln.linear", functional.silu(spread)).chunk(2, dim=2)
    return normed(audio, 1e-5) * (1 + scale) + shift
