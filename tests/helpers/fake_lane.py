"""A device whose memory is the host's, whose copies run late, and whose weights are NaN while they are away.

Every mistake of order shows in the numbers: a weight used before it is copied, or after its buffer was given to
another, is NaN or another layer's.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable

import torch

from mova_core.inference.placement.lanes import Mark
from mova_core.inference.placement.parcel import ALIGNMENT_BYTES


class FakeLane:
    """See `mova_core.inference.placement.lanes.Lane`.

    late : copies run only when somebody waits for them, else at once.

    Attributes
    ----------
    log : what happened, in order: "copy", "wait" (of the computation), "host wait".
    num_copied_bytes, num_brought_bytes : what came to the device through buffers, and as weights of their own.
    present_bytes, peak_bytes : of weights and buffers on the device, now and at most.
    """

    own_memory = True

    def __init__(self, late: bool = True) -> None:
        self.device = torch.device("cpu")
        self.log: list[str] = []
        self.num_copied_bytes = self.num_brought_bytes = 0
        self.present_bytes = self.peak_bytes = 0
        self._late = late
        self._lock = threading.RLock()
        self._queue: list[tuple[object, Callable[[], None]]] = []

    def host_buffer(self, num_bytes: int) -> torch.Tensor:
        return torch.full((num_bytes,), 255, dtype=torch.uint8)

    def device_buffer(self, num_bytes: int) -> torch.Tensor:
        return self._counted(torch.full((num_bytes,), 255, dtype=torch.uint8))  # NaN in every float format

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Mark) -> Mark:
        with self._lock:
            mark = object()
            self.num_copied_bytes += len(source)
            self._queue.append((mark, lambda: target.copy_(source)))
            self.log.append("copy")
            if not self._late:
                self._run_until(mark)
            return mark

    def computed_so_far(self) -> Mark:
        return object()  # the host's computation is done when it is called

    def compute_waits_for(self, mark: Mark) -> None:
        with self._lock:
            self.log.append("wait")
            self._run_until(mark)

    def host_waits_for(self, mark: Mark) -> None:
        with self._lock:
            self.log.append("host wait")
            self._run_until(mark)

    def brought(self, home: torch.Tensor) -> torch.Tensor:
        self.num_brought_bytes += home.nbytes
        return self._counted(home.clone())

    def away(self, home: torch.Tensor) -> torch.Tensor:
        return torch.full_like(home, torch.nan) if home.is_floating_point() else torch.zeros_like(home)

    def _counted(self, tensor: torch.Tensor) -> torch.Tensor:
        num_bytes = math.ceil(tensor.nbytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self.present_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.present_bytes)
        weakref.finalize(tensor.untyped_storage(), self._freed, num_bytes)
        return tensor

    def _freed(self, num_bytes: int) -> None:
        self.present_bytes -= num_bytes

    def _run_until(self, mark: Mark) -> None:
        """Runs copies in order up to that of `mark`; marks of the computation have passed."""
        if mark not in [queued for queued, _ in self._queue]:
            return
        while self._queue:
            queued, run = self._queue.pop(0)
            run()
            if queued is mark:
                return
