"""What the launches of both operators share: tokens `[b, l, d]`, and a modulation with a row a sample or a token.

A modulation is `[b, 1, d]` or `[b, l, d]`, of any strides except along its channels.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.launch import chunked, num_processors
from kernels.tuning import Config, Key

LEAST_ROWS_A_PROGRAM = 8
WIDE = 2048


def candidates_of_forward(key: Key) -> tuple[Config, ...]:
    """Tokens of a program, stages of its loop, and warps for a row of that width."""
    warps = (8, 4) if int(key[0]) > WIDE else (4, 2)
    loops = ((8, 1), (1, 1), (16, 3))
    return tuple(Config(num_warps=number, TOKENS=tokens, STAGES=stages) for number in warps for tokens, stages in loops)


def candidates_of_norm_backward(key: Key) -> tuple[Config, ...]:
    """Warps, programs that stay on a multiprocessor (as many as its registers hold), and stages of their loop."""
    if int(key[0]) <= WIDE:
        return _staying((4, 4, 3), (4, 6, 1), (8, 2, 3))
    return _staying((8, 2, 3), (16, 2, 1)) if "token" in key else _staying((16, 1, 3), (8, 2, 1), (16, 1, 1))


def candidates_of_residual_backward(key: Key) -> tuple[Config, ...]:
    """As for the norm, whose rows take twice the registers."""
    return _staying((8, 2, 3), (8, 3, 1), (16, 2, 1)) if int(key[0]) > WIDE else _staying((4, 4, 3), (4, 8, 1))


def _staying(*loops: tuple[int, int, int]) -> tuple[Config, ...]:
    return tuple(Config(num_warps=warps, programs=programs, STAGES=stages) for warps, programs, stages in loops)


def key(x: torch.Tensor, modulation: torch.Tensor) -> Key:
    """What a configuration may depend on."""
    return x.shape[-1], str(x.dtype).removeprefix("torch."), "token" if per_token(modulation) else "sample"


def per_token(modulation: torch.Tensor) -> bool:
    """Whether every token has a row of its own."""
    return modulation.shape[1] > 1


def strides(name: str, modulation: torch.Tensor) -> dict[str, int]:
    """Arguments that say where a modulation's rows lie."""
    return {f"{name}_sample_stride": modulation.stride(0), f"{name}_token_stride": modulation.stride(1)}


def widths(x: torch.Tensor, modulation: torch.Tensor) -> dict[str, Any]:
    """The constants of every kernel here."""
    size, count = chunked(x.shape[-1])
    return {"WIDTH": x.shape[-1], "CHUNK": size, "CHUNKS": count, "PER_TOKEN": per_token(modulation)}


def num_programs(x: torch.Tensor, config: Config) -> int:
    """Programs a sample in a backward pass: each sums a row of the modulation's gradient."""
    batch, length, _ = x.shape
    most = max(1, config.programs * num_processors(x.device) // batch)
    return min(-(-length // LEAST_ROWS_A_PROGRAM), most)


def check(x_bld: torch.Tensor, **modulations: torch.Tensor) -> None:
    """Holds modulations to what they modulate.

    Raises
    ------
    ValueError : naming both shapes, if one is not `[b or 1, l or 1, d]`.
    """
    if x_bld.ndim != 3 or not x_bld.shape[0] or not x_bld.shape[1]:
        raise ValueError(f"x is {tuple(x_bld.shape)}, expected tokens [sample, token, channel], at least one")
    batch, length, width = x_bld.shape
    for name, value in modulations.items():
        fits = value.ndim == 3 and value.shape[0] in (1, batch) and value.shape[1] in (1, length)
        if not fits or value.shape[2] != width:
            raise ValueError(
                f"{name} is {tuple(value.shape)} and x {tuple(x_bld.shape)}; "
                f"expected ({batch} or 1, {length} or 1, {width})"
            )


def placed(x_bld: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    """The modulation with a sample axis as long as x's, without copying, and channels next to each other."""
    if modulation.stride(2) != 1:
        modulation = modulation.contiguous()
    return modulation.expand(x_bld.shape[0], -1, -1)
