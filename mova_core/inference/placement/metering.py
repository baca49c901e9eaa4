"""How much memory a computation takes beside its weights: run on tensors without storage, counting what is alive.

The real code runs at the real shapes on PyTorch's meta device, so the figure follows the code. It leaves out what an
allocator adds (rounding, fragmentation) and what libraries take for themselves.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode


def peak_bytes(compute: Callable[[], object]) -> int:
    """The most bytes of meta tensors made inside `compute` that were alive at once."""
    meter = _Meter()
    with torch.inference_mode(), _AsOnADevice(), meter:
        compute()
    return meter.peak


@contextlib.contextmanager
def without_storage(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules' parameters and buffers are meta tensors; afterwards they are what they were."""
    kept: list[tuple[dict[str, Any], str, torch.Tensor]] = []
    for module in {id(part): part for root in modules for part in root.modules()}.values():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            kept.extend((table, name, tensor) for name, tensor in table.items() if tensor is not None)
    try:
        for table, name, tensor in kept:
            bare = torch.empty_like(tensor, device="meta")
            table[name] = nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare
        yield
    finally:
        for table, name, tensor in kept:
            table[name] = tensor


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in PyTorch
    """Counts the storages that operators return, until each is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in PyTorch
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {tensor.untyped_storage()._cdata for tensor in _meta_tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _meta_tensors(result):
            # A view of what was there before, such as a weight, takes no memory.
            if tensor.untyped_storage()._cdata not in given:
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        num_bytes = storage.nbytes()
        self.alive += num_bytes
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._freed, key, num_bytes)

    def _freed(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.alive -= num_bytes


class _AsOnADevice(TorchFunctionMode):
    """What the meta device does otherwise. Attention there builds every score; fused kernels make one output and one
    number a query. And nothing can be compared: no two tensors count as equal, so no work is spared by it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention and args[0].is_meta:
            query = args[0]
            _sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
            return query.new_empty(query.transpose(1, 2).shape).transpose(1, 2)
        if func is torch.equal and args[0].is_meta:
            return False
        return func(*args, **(kwargs or {}))


def _meta_tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.is_meta]
