"""How ZeRO-3 lays tensors out over processes, in both directions: whole tensors to a process's part, and back.

A *unit* is one parameter that ZeRO-3 partitions: a weight, or several weights laid end to end (see
`mova_core.training.flat`). ZeRO-3 cuts a unit of n elements into parts of ceil(n / world) elements, the last padded
with zeros, and lays a process's parts of several units end to end into its *shard*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Slot:
    """One weight inside a unit."""

    name: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Unit:
    """One parameter of ZeRO-3: weights laid end to end."""

    slots: tuple[Slot, ...]

    @property
    def numel(self) -> int:
        return sum(slot.numel for slot in self.slots)

    def part_numel(self, world: int) -> int:
        """Elements of one process's part, padding included."""
        return -(-self.numel // world)

    def split(self, whole: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weights inside the whole unit `[numel]`, as views by name."""
        pieces = torch.split(whole, [slot.numel for slot in self.slots])
        return {slot.name: piece.view(slot.shape) for slot, piece in zip(self.slots, pieces, strict=True)}

    def join(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The inverse of `split`, as a new tensor."""
        return torch.cat([weights[slot.name].reshape(-1) for slot in self.slots])


@dataclass(frozen=True)
class Layout:
    """The units of one shard, in order."""

    units: tuple[Unit, ...]

    def shard_numel(self, world: int) -> int:
        """Elements of one process's shard."""
        return sum(unit.part_numel(world) for unit in self.units)

    def assemble(self, shards: torch.Tensor) -> dict[str, torch.Tensor]:
        """All processes' shards `[world, shard_numel]` to whole weights by name."""
        weights: dict[str, torch.Tensor] = {}
        offset, world = 0, shards.shape[0]
        for unit in self.units:
            end = offset + unit.part_numel(world)
            weights.update(unit.split(shards[:, offset:end].reshape(-1)[: unit.numel]))
            offset = end
        return weights

    def cut(self, weights: Mapping[str, torch.Tensor], world: int) -> torch.Tensor:
        """Whole weights by name to all processes' shards `[world, shard_numel]`; the inverse of `assemble`."""
        parts = []
        for unit in self.units:
            whole = unit.join(weights)
            padding = world * unit.part_numel(world) - unit.numel
            parts.append(torch.nn.functional.pad(whole, (0, padding)).view(world, -1))
        return torch.cat(parts, dim=1)

    def gather(self, shard: torch.Tensor) -> dict[str, torch.Tensor]:
        """This process's shard to whole weights by name, on every process. Collective."""
        return self.assemble(all_shards(shard))

    def describe(self) -> list[list[tuple[str, list[int]]]]:
        """A form that JSON holds, equal for equal layouts."""
        return [[(slot.name, list(slot.shape)) for slot in unit.slots] for unit in self.units]


def all_shards(shard: torch.Tensor) -> torch.Tensor:
    """Every process's tensor of one shape, stacked by rank: `[world, *shape]`. Collective."""
    world = dist.get_world_size()
    gathered = shard.new_empty((world, *shard.shape))
    dist.all_gather(list(gathered.unbind()), shard.contiguous())
    return gathered


def own_sum(shards: torch.Tensor) -> torch.Tensor:
    """The sum over processes of `[world, n]`, of which this process receives its own row. Collective."""
    if shards.shape[0] == 1:
        return shards[0]
    own = shards.new_empty(shards.shape[1])
    dist.reduce_scatter(own, list(shards.contiguous().unbind()))
    return own
