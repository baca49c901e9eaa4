"""A set of weights that comes to the device and leaves it together.

The host's tensors (mapped from the checkpoint's files) are kept and never written: leaving the device costs nothing,
and the host never holds a second copy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import nn

from mova_core.inference.placement.lanes import Lane

ALIGNMENT_BYTES = 256
"""Of each tensor in a buffer: what PyTorch's own allocator gives, so that kernels choose the same code."""


class Parcel:
    """The parameters and buffers of some modules.

    Parameters
    ----------
    name : for messages.
    modules : whose tensors these are, those of their children included.
    without : parcels whose tensors are left out.
    """

    def __init__(self, name: str, modules: Iterable[nn.Module], without: Iterable[Parcel] = ()) -> None:
        self.name = name
        self.modules = tuple(modules)
        taken = {id(tensor) for parcel in without for tensor in parcel.tensors}
        found = itertools.chain(*((*module.parameters(), *module.buffers()) for module in self.modules))
        self.tensors: list[torch.Tensor] = list(
            {id(tensor): tensor for tensor in found if id(tensor) not in taken}.values()
        )
        self.homes = [tensor.data for tensor in self.tensors]
        self.offsets: list[int] = []
        end = 0
        for home in self.homes:
            self.offsets.append(end)
            end += math.ceil(home.nbytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self.num_bytes = end
        self.parcels = (self,)
        self.device_bytes = end
        self.host_bytes = 0

    def bring(self, lane: Lane) -> None:
        """Puts every tensor on the device, each in memory of its own."""
        for tensor, home in zip(self.tensors, self.homes, strict=True):
            tensor.data = lane.brought(home)

    def leave(self, lane: Lane) -> None:
        """Gives the device's memory back."""
        for tensor, home in zip(self.tensors, self.homes, strict=True):
            tensor.data = lane.away(home)

    def go_home(self) -> None:
        """Makes the modules what they were before anyone moved their weights."""
        for tensor, home in zip(self.tensors, self.homes, strict=True):
            tensor.data = home

    def pack(self, buffer: torch.Tensor) -> None:
        """Writes all tensors' bytes into a buffer on the host."""
        for home, offset in zip(self.homes, self.offsets, strict=True):
            buffer[offset : offset + home.nbytes].copy_(home.contiguous().view(-1).view(torch.uint8))

    def point_into(self, buffer: torch.Tensor) -> None:
        """Makes every tensor a view of the buffer that holds its bytes."""
        for tensor, home, offset in zip(self.tensors, self.homes, self.offsets, strict=True):
            tensor.data = buffer[offset : offset + home.nbytes].view(home.dtype).view(home.shape)
