"""The angles by which tokens of a grid turn, in a table of one row for each position along each axis.

A video of F x h x w tokens needs F + h + w rows, not F*h*w: at 720p 174 rows instead of 176,400. Where only frames
count (the Bridge, whose tokens of one latent frame share a position) F rows are all there is.
"""

from __future__ import annotations

import dataclasses
import functools
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

    @functools.cached_property
    def by_token(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of each token, `[tokens, pairs]`: what the kernels never build."""
        with torch.inference_mode(False):  # or tables first made while sampling could not serve training
            return spread(self)

    @functools.cached_property
    def unit_by_token(self) -> torch.Tensor:
        """The same as complex unit numbers."""
        with torch.inference_mode(False):
            return torch.complex(*self.by_token)


def table_rows(grid: tuple[int, int, int], split: tuple[int, int, int]) -> int:
    """Rows of a `Rotation`'s table."""
    return sum(extent for extent, pairs in zip(grid, split, strict=True) if pairs)


def rotation_from_angles(
    angles: tuple[torch.Tensor, ...],
    grid: tuple[int, int, int],
    layout: Layout,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Rotation:
    """A rotation from one tensor of angles `[positions, pairs]` for each axis, in radians, best in float64.

    Axes without pairs may be left out at the end. Cosines and sines are taken in the angles' dtype and on their device,
    and kept in `dtype` on `device` (None: the same).
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
    cos, sin = table.cos().to(device=device, dtype=dtype), table.sin().to(device=device, dtype=dtype)
    return Rotation(cos, sin, grid, (split[0], split[1], split[2]), layout)


def spread(rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
    """`Rotation.by_token` without its cache, which a compiler cannot trace."""
    _, rows, columns = rotation.grid
    token = torch.arange(rotation.num_tokens, device=rotation.cos.device)
    places = (token // (rows * columns), token // columns % rows, token % columns)
    index, first_row = [], 0
    for place, extent, pairs in zip(places, rotation.grid, rotation.split, strict=True):
        if pairs:
            index.append((first_row + place)[:, None].expand(-1, pairs))
            first_row += extent
    row_of_pair = torch.cat(index, dim=-1)
    return rotation.cos.gather(0, row_of_pair), rotation.sin.gather(0, row_of_pair)
