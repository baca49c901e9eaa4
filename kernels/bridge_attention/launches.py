"""Starts the kernels: allocates what they write, decides on parts, joins what comes in parts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from kernels.bridge_attention import configurations
from kernels.bridge_attention.backward import delta_kernel, key_gradient_kernel, query_gradient_kernel
from kernels.bridge_attention.forward import forward_kernel
from kernels.bridge_attention.merge import merge_kernel
from kernels.bridge_attention.statistics import inverse_rms_kernel
from kernels.launch import allocate, launch, num_processors
from kernels.tuning import Config, Key


@dataclasses.dataclass(frozen=True)
class Side:
    """How queries or keys are normed and rotated while they are loaded; see `tiles.load_halves`.

    Attributes
    ----------
    inverse_rms : float32 `[b, l]`.
    weight : `[h * d]`.
    cos, sin : float32 `[rows, d / 2]`.
    tokens_per_row : how many tokens in a row share a row of the tables.
    first_token : where the sequence begins in what the tables count.
    """

    inverse_rms: torch.Tensor
    weight: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor
    tokens_per_row: int
    first_token: int


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What forward and backward kernels share: contiguous `[b, l, h, d]` tensors and what counts in them.

    Attributes
    ----------
    key_mask : bool `[b, k]`; key_lengths, query_lengths : int32 `[b]`.
    q_side, k_side : norms and rotations on load; None for queries or keys that come ready.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    key_mask: torch.Tensor | None = None
    key_lengths: torch.Tensor | None = None
    query_lengths: torch.Tensor | None = None
    q_side: Side | None = None
    k_side: Side | None = None

    def key(self) -> Key:
        """What the configuration of a kernel on these inputs depends on."""
        sides = {(False, False): "neither", (True, False): "queries", (False, True): "keys", (True, True): "both"}
        return configurations.key_of(self.q, sides[self.q_side is not None, self.k_side is not None])

    def arguments(self) -> dict[str, Any]:
        """The kernels' common arguments, by name."""
        samples, queries, heads, head_dim = self.q.shape
        mask = None if self.key_mask is None else self.key_mask.view(torch.uint8)
        return {
            "q": self.q,
            "k": self.k,
            "v": self.v,
            **_side("q", self.q_side),
            **_side("k", self.k_side),
            "key_mask": mask,
            "key_lengths": self.key_lengths,
            "query_lengths": self.query_lengths,
            "num_samples": samples,
            "num_queries": queries,
            "num_keys": self.k.shape[1],
            "softmax_scale": 1 / math.sqrt(head_dim),
            "HEADS": heads,
            **configurations.depths(head_dim),
        }


def _side(prefix: str, side: Side | None) -> dict[str, Any]:
    if side is None:
        absent = dict.fromkeys(f"{prefix}_{name}" for name in ("inverse_rms", "weight", "cos", "sin"))
        return {**absent, f"{prefix}_tokens_per_row": 1, f"{prefix}_first_token": 1}
    return {f"{prefix}_{field.name}": getattr(side, field.name) for field in dataclasses.fields(side)}


def forward(
    inputs: Inputs,
    residual: torch.Tensor | None,
    scale: torch.Tensor | None,
    *,
    out_dtype: torch.dtype,
    keep_attended: bool,
    num_parts: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(residual + scale * attention `[b, q, h, d]`, log-sum-exp float32 `[b, h, q]`, the attention itself if kept)."""
    q, device = inputs.q, inputs.q.device
    samples, queries, heads, _ = q.shape
    config = configurations.FORWARD.configuration(inputs.key(), device)
    tiles = _tiles(q, config.blocks["BLOCK_Q"])
    parts = num_parts or _parts(tiles, inputs.k.shape[1], "BLOCK_K", config, device)
    out = allocate(q.shape, out_dtype, device)
    attended = allocate(q.shape, out_dtype, device) if keep_attended else None
    lse = allocate((samples, heads, queries), torch.float32, device)
    ends: dict[str, Any] = {"residual": residual, "scale": scale, "out": out, "attended": attended, "lse": lse}
    if parts == 1:
        _start(forward_kernel, tiles, config, device, inputs.arguments(), num_parts=1, **ends)
        return out, lse, attended
    partial = {
        "residual": None,
        "scale": None,
        "out": allocate((parts, *q.shape), torch.float32, device),
        "attended": None,
        "lse": allocate((parts, *lse.shape), torch.float32, device),
    }
    _start(forward_kernel, tiles * parts, config, device, inputs.arguments(), num_parts=parts, **partial)
    merging = configurations.MERGE.configuration(inputs.key(), device)
    constants = {"HEADS": heads, **configurations.depths(q.shape[3])}
    del constants["BLOCK_HALF"]
    rows = samples * queries * heads
    launch(
        merge_kernel,
        (math.ceil(rows / merging.blocks["BLOCK_ROWS"]),),
        merging,
        outs=partial["out"],
        lses=partial["lse"],
        **ends,
        num_rows=rows,
        num_queries=queries,
        num_parts=parts,
        **constants,
    )
    return out, lse, attended


def backward(
    inputs: Inputs,
    scale: torch.Tensor | None,
    attended: torch.Tensor,
    lse: torch.Tensor,
    out_gradient: torch.Tensor,
    lse_gradient: torch.Tensor | None,
    *,
    num_parts: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of (queries, keys, values, scale); of queries and keys as they enter the scores.

    `num_parts` cuts the keys for the queries' gradient and the queries for the keys'; None leaves it to the lengths.
    """
    products = _products(inputs, attended, out_gradient)
    delta = products if scale is None else products * scale.float()
    if lse_gradient is not None:
        delta = delta - lse_gradient
    common = {"scale": scale, "out_gradient": out_gradient, "lse": lse, "delta": delta.contiguous()}
    q_gradient = _query_gradient(inputs, common, num_parts)
    k_gradient, v_gradient = _key_gradient(inputs, common, num_parts)
    return q_gradient, k_gradient, v_gradient, products.sum()


def _products(inputs: Inputs, attended: torch.Tensor, out_gradient: torch.Tensor) -> torch.Tensor:
    samples, queries, heads, head_dim = inputs.q.shape
    products = allocate((samples, heads, queries), torch.float32, inputs.q.device)
    config = configurations.DELTA.configuration(inputs.key(), inputs.q.device)
    launch(
        delta_kernel,
        (math.ceil(products.numel() / config.blocks["BLOCK_ROWS"]),),
        config,
        out_gradient=out_gradient,
        attended=attended,
        products=products,
        query_lengths=inputs.query_lengths,
        num_rows=products.numel(),
        num_queries=queries,
        HEADS=heads,
        HEAD_DIM=head_dim,
        BLOCK_DIM=configurations.depths(head_dim)["BLOCK_DIM"],
    )
    return products


def _query_gradient(inputs: Inputs, common: dict[str, Any], num_parts: int | None) -> torch.Tensor:
    q, device = inputs.q, inputs.q.device
    config = configurations.QUERY_GRADIENT.configuration(inputs.key(), device)
    tiles = _tiles(q, config.blocks["BLOCK_Q"])
    parts = num_parts or _parts(tiles, inputs.k.shape[1], "BLOCK_K", config, device)
    gradient = allocate((parts, *q.shape), q.dtype if parts == 1 else torch.float32, device)
    _start(
        query_gradient_kernel, tiles * parts, config, device, inputs.arguments(),
        num_parts=parts, q_gradient=gradient, **common,
    )  # fmt: skip
    return _joined(gradient, q.dtype)


def _key_gradient(inputs: Inputs, common: dict[str, Any], num_parts: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    k, device = inputs.k, inputs.k.device
    config = configurations.KEY_GRADIENT.configuration(inputs.key(), device)
    tiles = _tiles(k, config.blocks["BLOCK_K"])
    parts = num_parts or _parts(tiles, inputs.q.shape[1], "BLOCK_Q", config, device)
    dtype = k.dtype if parts == 1 else torch.float32
    k_gradient, v_gradient = (allocate((parts, *k.shape), dtype, device) for _ in range(2))
    _start(
        key_gradient_kernel, tiles * parts, config, device, inputs.arguments(),
        num_parts=parts, k_gradient=k_gradient, v_gradient=v_gradient, **common,
    )  # fmt: skip
    return _joined(k_gradient, k.dtype), _joined(v_gradient, k.dtype)


def _tiles(x_blhd: torch.Tensor, block: int) -> int:
    samples, length, heads, _ = x_blhd.shape
    return math.ceil(length / block) * samples * heads


def _parts(num_tiles: int, length: int, block: str, config: Config, device: torch.device) -> int:
    most = math.ceil(length / config.blocks[block])
    return configurations.number_of_parts(num_tiles, most, _programs(config, device))


def _programs(config: Config, device: torch.device) -> int:
    return num_processors(device) * configurations.programs_per_processor(config)


def _start(
    kernel: Any, num_tiles: int, config: Config, device: torch.device, arguments: dict[str, Any], **others: Any
) -> None:
    """One program for every tile, but no more than run at once: each then works through several."""
    launch(kernel, (max(1, min(num_tiles, _programs(config, device))),), config, **arguments, **others)


def _joined(gradient_parts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return gradient_parts[0] if len(gradient_parts) == 1 else gradient_parts.sum(dim=0).to(dtype)


def inverse_rms(x_blhd: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / sqrt(mean square + eps) of each token over its whole width, float32 `[b, l]`."""
    samples, length, heads, head_dim = x_blhd.shape
    found = allocate((samples, length), torch.float32, x_blhd.device)
    config = configurations.INVERSE_RMS.configuration(configurations.key_of(x_blhd), x_blhd.device)
    launch(
        inverse_rms_kernel,
        (math.ceil(found.numel() / config.blocks["BLOCK_ROWS"]),),
        config,
        x=x_blhd,
        found=found,
        num_rows=found.numel(),
        eps=eps,
        WIDTH=heads * head_dim,
    )
    return found
