"""How bytes get from the host to the device, and what waits for what.

Copies run beside the computation. A `Mark` stands for a point in the work of one of the two; whoever needs what lies
before it waits for it. On a GPU the marks are events of two streams, on a CPU everything is done when it is called.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

Mark = Any
"""A point in the copies' or the computation's work; only the lane that made it reads it."""


class Lane(Protocol):
    """The way to one device.

    own_memory : whether the device has memory of its own, which is not the host's.
    """

    device: torch.device
    own_memory: bool

    def host_buffer(self, num_bytes: int) -> torch.Tensor:
        """Bytes on the host that the device can copy from while it computes."""
        ...

    def device_buffer(self, num_bytes: int) -> torch.Tensor:
        """Bytes on the device."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Mark) -> Mark:
        """Starts copying once `after` has passed, and marks the end; copies run in the order of these calls."""
        ...

    def computed_so_far(self) -> Mark:
        """Marks the end of the computation that was asked for until now."""
        ...

    def compute_waits_for(self, mark: Mark) -> None:
        """What is asked for from now on runs after `mark`; the caller does not wait."""
        ...

    def host_waits_for(self, mark: Mark) -> None:
        """Returns once `mark` has passed."""
        ...

    def brought(self, home: torch.Tensor) -> torch.Tensor:
        """A tensor of the host on the device; itself where they are the same memory."""
        ...

    def away(self, home: torch.Tensor) -> torch.Tensor:
        """What stands for a weight while it is not on the device."""
        ...


def lane_to(device: torch.device) -> Lane:
    """The lane to a device."""
    return CudaLane(device) if device.type == "cuda" else HostLane(device)


class HostLane:
    """To the CPU itself: one memory, no second stream. The ring's buffers are the only copies it makes."""

    own_memory = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def host_buffer(self, num_bytes: int) -> torch.Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8)

    def device_buffer(self, num_bytes: int) -> torch.Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, device=self.device)

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Mark) -> Mark:
        target.copy_(source)

    def computed_so_far(self) -> Mark:
        return None

    def compute_waits_for(self, mark: Mark) -> None:
        pass

    def host_waits_for(self, mark: Mark) -> None:
        pass

    def brought(self, home: torch.Tensor) -> torch.Tensor:
        return home.to(self.device)

    def away(self, home: torch.Tensor) -> torch.Tensor:
        return home


class CudaLane:
    """To a GPU: copies run on a stream of their own, from pinned memory."""

    own_memory = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped in PyTorch

    def host_buffer(self, num_bytes: int) -> torch.Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def device_buffer(self, num_bytes: int) -> torch.Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, device=self.device)

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Mark) -> Mark:
        with torch.cuda.stream(self._copies):
            if after is not None:
                self._copies.wait_event(after)
            target.copy_(source, non_blocking=True)
            return self._copies.record_event()

    def computed_so_far(self) -> Mark:
        return torch.cuda.current_stream(self.device).record_event()

    def compute_waits_for(self, mark: Mark) -> None:
        torch.cuda.current_stream(self.device).wait_event(mark)

    def host_waits_for(self, mark: Mark) -> None:
        mark.synchronize()

    def brought(self, home: torch.Tensor) -> torch.Tensor:
        return home.to(self.device)

    def away(self, home: torch.Tensor) -> torch.Tensor:
        return home
