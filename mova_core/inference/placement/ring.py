"""Layer streaming: a few buffers on the device, filled ahead of the computation and used in turn.

While one parcel is computed with, the next is copied: mapped file -> pinned buffer (a thread) -> device buffer (the
lane's copies). Two rules keep the bytes right: a device buffer is overwritten only after the computation that read it,
and a pinned buffer only after the copy that read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from mova_core.inference.placement.lanes import Lane, Mark
from mova_core.inference.placement.parcel import Parcel

NUM_SLOTS = 2
"""Device buffers: one in use, one being filled."""
NUM_STAGING = 2
"""Pinned buffers: one being read by the device, one being filled."""


@dataclass
class Slot:
    """A device buffer, and the point after which it may be overwritten."""

    buffer: torch.Tensor
    free_after: Mark


@dataclass
class Fetch:
    """A parcel on its way into a slot."""

    parcel: Parcel
    slot: Slot
    copied: Future[Mark]


class Ring:
    """Streams parcels that are used in a steady order, such as the layers of a model.

    Parameters
    ----------
    cycles : orders in which they are used again and again. Changes are learned: what followed a parcel last time is
        fetched behind it the next time. Any other order is served as well, only later.

    Attributes
    ----------
    cycle_bytes : what is copied while the first cycle passes.
    device_bytes, host_bytes : of its buffers.
    """

    def __init__(self, name: str, cycles: Sequence[Sequence[Parcel]], lane: Lane) -> None:
        self.name = name
        self.parcels = tuple(parcel for cycle in cycles for parcel in cycle)
        self.cycle_bytes = sum(parcel.num_bytes for parcel in cycles[0])
        self.largest_bytes = max(parcel.num_bytes for parcel in self.parcels)
        self.device_bytes = NUM_SLOTS * self.largest_bytes
        self.host_bytes = NUM_STAGING * self.largest_bytes
        self._lane = lane
        self._next = {
            parcel: following
            for cycle in cycles
            for parcel, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
        }
        self._thread: ThreadPoolExecutor | None = None
        self._staging: deque[tuple[torch.Tensor, Mark]] = deque()
        self._free: deque[Slot] = deque()
        self._coming: deque[Fetch] = deque()
        self._held: tuple[Parcel, Slot] | None = None

    def bring(self, lane: Lane) -> None:
        """Takes the buffers; nothing is copied before it is asked for."""
        # The memory may have been given back by work that is still queued on the device.
        before = lane.computed_so_far()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"stream-{self.name}")
        self._staging = deque((lane.host_buffer(self.largest_bytes), None) for _ in range(NUM_STAGING))
        self._free = deque(Slot(lane.device_buffer(self.largest_bytes), before) for _ in range(NUM_SLOTS))

    def leave(self, lane: Lane) -> None:
        """Gives the buffers back, once nothing is copied into them any more."""
        self._drop_what_comes()
        self._release()
        for slot in self._free:
            lane.host_waits_for(slot.free_after)
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = None
        self._staging.clear()
        self._free.clear()

    def hold(self, parcel: Parcel) -> None:
        """Points the parcel's tensors at the device, after what was held before, and fetches ahead.

        Raises
        ------
        RuntimeError : before `bring`.
        """
        if self._thread is None:
            raise RuntimeError(f"{self.name} has no buffers; call bring first")
        if self._held is not None:
            if self._held[0] is parcel:
                return
            self._next[self._held[0]] = parcel
        self._release()
        if not self._coming or self._coming[0].parcel is not parcel:
            self._drop_what_comes()
            self._fetch(parcel)
        fetch = self._coming.popleft()
        self._lane.compute_waits_for(fetch.copied.result())
        parcel.point_into(fetch.slot.buffer)
        self._held = parcel, fetch.slot
        while self._free:
            self._fetch(self._next[self._coming[-1].parcel if self._coming else parcel])

    def _fetch(self, parcel: Parcel) -> None:
        assert self._thread is not None
        slot = self._free.popleft()
        self._coming.append(Fetch(parcel, slot, self._thread.submit(self._copy, parcel, slot)))

    def _copy(self, parcel: Parcel, slot: Slot) -> Mark:
        """Runs in the ring's thread."""
        staging, read = self._staging.popleft()
        if read is not None:
            self._lane.host_waits_for(read)
        parcel.pack(staging)
        copied = self._lane.copy(slot.buffer[: parcel.num_bytes], staging[: parcel.num_bytes], slot.free_after)
        self._staging.append((staging, copied))
        return copied

    def _release(self) -> None:
        if self._held is not None:
            parcel, slot = self._held
            parcel.leave(self._lane)
            slot.free_after = self._lane.computed_so_far()
            self._free.append(slot)
            self._held = None

    def _drop_what_comes(self) -> None:
        while self._coming:
            fetch = self._coming.popleft()
            fetch.slot.free_after = fetch.copied.result()
            self._free.append(fetch.slot)
