"""Cross-attention of the Bridge against the textbook formula."""

from __future__ import annotations

import math

import pytest
import torch

from kernels.bridge_attention import bridge_attention
from kernels.dispatch import KernelUnavailable


@pytest.mark.parametrize(("queries", "keys"), [(7, 3), (3, 7), (1, 1)])
def test_equals_softmax_of_scaled_products(queries: int, keys: int) -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, queries, 3, 4, generator=generator, dtype=torch.float64)
    k, v = torch.randn(2, 2, keys, 3, 4, generator=generator, dtype=torch.float64)
    out = bridge_attention(q, k, v, backend="auto")
    for sample in range(2):
        for head in range(3):
            weights = (q[sample, :, head] @ k[sample, :, head].T / math.sqrt(4)).exp()
            expected = weights / weights.sum(dim=1, keepdim=True) @ v[sample, :, head]
            torch.testing.assert_close(out[sample, :, head], expected)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected equal keys and values"):
        bridge_attention(torch.ones(1, 2, 3, 4), torch.ones(1, 5, 3, 8), torch.ones(1, 5, 3, 8), backend="auto")


def test_triton_is_refused_until_it_is_built() -> None:
    with pytest.raises(KernelUnavailable, match="not built yet"):
        bridge_attention(torch.ones(1, 2, 3, 4), torch.ones(1, 5, 3, 4), torch.ones(1, 5, 3, 4), backend="triton")
