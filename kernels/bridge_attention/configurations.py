"""Blocks, warps and stages of the Bridge's attention, and into how many parts a sequence is cut.

What fits follows from registers, of which a thread has 255. With head_dim 128, a tile of 128 queries against 64 keys
holds a 128 x 128 float32 output and 128 x 64 float32 scores: 96 registers a thread over 8 warps, which leaves room for
addresses and what is on its way; over 4 warps it would be 192, which does not. Key tiles of the backward pass hold two
such sums (dk and dv) beside two tiles of scores, so they own 64 keys against 32 queries. float32 tiles take twice the
shared memory and three products for one, hence smaller blocks; so do tiles that are normed and rotated on load.
"""

from __future__ import annotations

import torch
import triton

from kernels.launch import capability
from kernels.tuning import Config, Key, Tunable

WARPS_PER_PROCESSOR = 8
"""Warps of some 200 registers a thread that fit the 65,536 registers of a multiprocessor."""
MOST_PARTS = 16
"""More parts than this cost more in joining than they win in balance."""
WORTH_A_PART = 0.03
"""Share of the chip that another part must win at most: it loads its tile, stores its result, and that is joined."""
BLOCKS_A_PART = 9
"""As many blocks of the long sequence as take that time, which weighs less the longer the sequence is.

Of them about five are the bytes of a float32 result, written and read (8 bytes an element against 4 operations for each
key of a block of 64, on a GPU of 175 operations a byte), and about four the start and the end of a loop; not measured.
"""


def _is_wide(key: Key) -> bool:
    return key[-1] == "float32"


def _by_warp(key: Key) -> bool:
    """Before 9.0, where products take their factors from registers, and tiles must be smaller."""
    return key[3] == "warps"


def _turns_queries(key: Key) -> bool:
    return key[2] in ("queries", "both")


def _turns_keys(key: Key) -> bool:
    return key[2] in ("keys", "both")


def _forward(key: Key) -> tuple[Config, ...]:
    if _is_wide(key):
        return (_config(32, 32, 8, 1), _config(32, 32, 4, 1))
    if _turns_keys(key):
        return (_config(64, 64, 8, 2),)
    if _turns_queries(key):
        return (_config(128, 64, 8, 2),)
    if _by_warp(key):
        return (_config(128, 64, 8, 2), _config(64, 64, 8, 2))
    return (_config(128, 64, 8, 3), _config(128, 64, 8, 2), _config(64, 64, 8, 2), _config(64, 64, 4, 2))


def _query_gradient(key: Key) -> tuple[Config, ...]:
    if _is_wide(key) or _turns_keys(key):
        return (_config(32, 32, 8, 1),)
    if _turns_queries(key):
        return (_config(128, 32, 8, 2),)
    if _by_warp(key):
        return (_config(128, 32, 8, 2),)
    return (_config(128, 64, 8, 2), _config(128, 32, 8, 2), _config(64, 64, 8, 2))


def _key_gradient(key: Key) -> tuple[Config, ...]:
    if _is_wide(key):
        return (_config(16, 16, 4, 1),)
    if _turns_keys(key) or _turns_queries(key):
        return (_config(32, 32, 8, 2),)
    if _by_warp(key):
        return (_config(32, 32, 8, 2), _config(64, 32, 8, 2))
    return (_config(32, 64, 8, 2), _config(32, 64, 8, 3))


def _rows(key: Key) -> tuple[Config, ...]:
    return tuple(Config(num_warps=warps, BLOCK_ROWS=rows) for rows, warps in ((32, 4), (16, 4), (64, 8)))


def _whole_rows(key: Key) -> tuple[Config, ...]:
    return (Config(num_warps=4, num_stages=2, BLOCK_ROWS=4, BLOCK_COLUMNS=512),)


def _config(block_q: int, block_k: int, num_warps: int, num_stages: int) -> Config:
    return Config(num_warps=num_warps, num_stages=num_stages, BLOCK_Q=block_q, BLOCK_K=block_k)


FORWARD = Tunable("bridge_attention.forward", _forward)
QUERY_GRADIENT = Tunable("bridge_attention.query_gradient", _query_gradient)
KEY_GRADIENT = Tunable("bridge_attention.key_gradient", _key_gradient)
MERGE = Tunable("bridge_attention.merge", _rows)
DELTA = Tunable("bridge_attention.delta", _rows)
INVERSE_RMS = Tunable("bridge_attention.inverse_rms", _whole_rows)


def key_of(x_blhd: torch.Tensor, on_load: str = "neither") -> Key:
    """What a configuration depends on: see `key`."""
    return key(x_blhd.shape[2], x_blhd.shape[3], on_load, x_blhd.dtype)


def key(heads: int, head_dim: int, on_load: str, dtype: torch.dtype) -> Key:
    """Heads, head_dim, what is normed on load, whether the GPU multiplies by warp group (9.0 and later), and dtype."""
    kind = "warp_groups" if capability() >= 90 else "warps"
    return (heads, head_dim, on_load, kind, str(dtype).removeprefix("torch."))


def depths(head_dim: int) -> dict[str, int]:
    """Constants that follow from head_dim: blocks of a whole head and of half of one, of at least 16 (a product's)."""
    whole = max(16, triton.next_power_of_2(head_dim))
    return {"HEAD_DIM": head_dim, "BLOCK_DIM": whole, "BLOCK_HALF": max(16, whole // 2)}


def programs_per_processor(config: Config) -> int:
    """How many programs run on a multiprocessor at once."""
    return max(1, WARPS_PER_PROCESSOR // config.num_warps)


def number_of_parts(num_tiles: int, most_parts: int, num_programs: int) -> int:
    """Into how many parts to cut the sequence that `num_tiles` tiles stream past.

    The fewest that keep nearly as many of `num_programs` simultaneous programs busy as any number up to `most_parts`
    does. Depends on nothing that changes from run to run, so results repeat.
    """
    choices = range(1, max(1, min(most_parts, MOST_PARTS)) + 1)
    worth = min(WORTH_A_PART, BLOCKS_A_PART / max(1, most_parts))
    busy = {parts: _busy(num_tiles * parts, num_programs) for parts in choices}
    return max(choices, key=lambda parts: (busy[parts] - worth * (parts - 1), -parts))


def _busy(num_tiles: int, num_programs: int) -> float:
    waves = -(-num_tiles // num_programs)
    return num_tiles / (waves * num_programs)
