"""What the Bridge's attention refuses; every message quotes what was found and what fits."""

from __future__ import annotations

import torch


def check_heads(q_bqhd: torch.Tensor, k_bkhd: torch.Tensor, v_bkhd: torch.Tensor) -> None:
    """Holds queries, keys and values against each other.

    Raises
    ------
    ValueError : if shapes or dtypes do not fit.
    """
    fits = q_bqhd.ndim == k_bkhd.ndim == 4 and k_bkhd.shape == v_bkhd.shape
    fits = fits and q_bqhd.shape[0] == k_bkhd.shape[0] and q_bqhd.shape[2:] == k_bkhd.shape[2:]
    if not fits:
        raise ValueError(
            f"queries {tuple(q_bqhd.shape)}, keys {tuple(k_bkhd.shape)}, values {tuple(v_bkhd.shape)}; expected equal "
            "keys and values, and queries that differ from them only in the number of tokens"
        )
    if not q_bqhd.dtype == k_bkhd.dtype == v_bkhd.dtype:
        raise ValueError(
            f"queries, keys and values are {q_bqhd.dtype}, {k_bkhd.dtype} and {v_bkhd.dtype}; expected one dtype"
        )
    if q_bqhd.shape[3] % 2:
        raise ValueError(f"head_dim is {q_bqhd.shape[3]}, expected an even number")


def check_padding(
    q_bqhd: torch.Tensor,
    k_bkhd: torch.Tensor,
    key_mask_bk: torch.Tensor | None,
    key_lengths_b: torch.Tensor | None,
    query_lengths_b: torch.Tensor | None,
) -> None:
    """Holds masks and lengths against the tokens.

    Raises
    ------
    ValueError : if a shape or dtype does not fit.
    """
    samples, keys = k_bkhd.shape[:2]
    if key_mask_bk is not None and (key_mask_bk.shape != (samples, keys) or key_mask_bk.dtype != torch.bool):
        raise ValueError(
            f"the key mask is {key_mask_bk.dtype} {tuple(key_mask_bk.shape)}, expected bool {(samples, keys)}"
        )
    for name, lengths in (("key", key_lengths_b), ("query", query_lengths_b)):
        if lengths is not None and (lengths.shape != (samples,) or lengths.dtype not in (torch.int32, torch.int64)):
            raise ValueError(
                f"{name} lengths are {lengths.dtype} {tuple(lengths.shape)}, expected int32 or int64 ({samples},)"
            )


def check_ends(q_bqhd: torch.Tensor, scale: float | torch.Tensor | None, residual_bqhd: torch.Tensor | None) -> None:
    """Holds scale and residual against the output.

    Raises
    ------
    ValueError : if a shape does not fit.
    """
    if isinstance(scale, torch.Tensor) and scale.numel() != 1:
        raise ValueError(f"the condition scale has shape {tuple(scale.shape)}, expected one number")
    if residual_bqhd is not None and residual_bqhd.shape != q_bqhd.shape:
        raise ValueError(f"the residual is {tuple(residual_bqhd.shape)}, the output {tuple(q_bqhd.shape)}")
