"""The angles by which tokens of a grid turn, in a table of one row for each position along each axis.

A video of F x h x w tokens needs F + h + w rows, not F*h*w: at 720p 174 rows instead of 176,400. Where only frames
count (the Bridge, whose tokens of one latent frame share a position) F rows are all there is.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from kernels.cases import Layout


@dataclasses.dataclass(frozen=True, eq=False)
class Rotation:
    """Angles of the tokens of a grid, as cosines and sines.

    Token t of the grid lies at frame t // (h*w), row t // w % h, column t % w.

    Attributes
    ----------
    cos, sin : `[rows, pairs]`: one row for each frame, then for each row, then for each column, the latter two only
        where `split` gives them pairs. In a row of an axis only the columns of that axis' pairs are read.
    grid : tokens along (frame, row, column).
    split : how many of the `pairs` channel pairs turn with each axis, in this order.
    layout : `halves`: channel i turns against channel i + head_dim/2; `interleaved`: channel 2i against 2i + 1.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    grid: tuple[int, int, int]
    split: tuple[int, int, int]
    layout: Layout

    def __post_init__(self) -> None:
        expected = (table_rows(self.grid, self.split), sum(self.split))
        if self.cos.shape != expected or self.sin.shape != expected:
            raise ValueError(
                f"tables of {tuple(self.cos.shape)} and {tuple(self.sin.shape)} for a grid {self.grid} split "
                f"{self.split}, expected both {expected}: one row for each position along an axis that turns pairs"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of the grid."""
        return math.prod(self.grid)


def table_rows(grid: tuple[int, int, int], split: tuple[int, int, int]) -> int:
    """Rows of a `Rotation`'s table."""
    return sum(extent for extent, pairs in zip(grid, split, strict=True) if pairs)


def rotation_from_angles(
    angles: tuple[torch.Tensor, ...], grid: tuple[int, int, int], layout: Layout, dtype: torch.dtype = torch.float32
) -> Rotation:
    """A rotation from one tensor of angles `[positions, pairs]` for each axis, in radians, best in float64.

    Axes without pairs may be left out at the end.
    """
    split = [axis.shape[1] for axis in angles] + [0] * (3 - len(angles))
    placed, start = [], 0
    for axis in angles:
        if axis.shape[1]:
            row = axis.new_zeros(axis.shape[0], sum(split))
            row[:, start : start + axis.shape[1]] = axis
            placed.append(row)
        start += axis.shape[1]
    table = torch.cat(placed)
    return Rotation(table.cos().to(dtype), table.sin().to(dtype), grid, (split[0], split[1], split[2]), layout)


def spread(rotation: Rotation, first_token: int, num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of each token, `[num_tokens, pairs]`: what the kernels never build."""
    (_, rows, columns), device = rotation.grid, rotation.cos.device
    token = torch.arange(first_token, first_token + num_tokens, device=device)
    places = (token // (rows * columns), token // columns % rows, token % columns)
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    first_row = first_pair = 0
    for place, extent, pairs in zip(places, rotation.grid, rotation.split, strict=True):
        if pairs:
            window = slice(first_pair, first_pair + pairs)
            row = first_row + place
            parts.append((rotation.cos[row, window], rotation.sin[row, window]))
            first_row += extent
        first_pair += pairs
    return torch.cat([cos for cos, _ in parts], dim=-1), torch.cat([sin for _, sin in parts], dim=-1)
