"""The text as the towers attend to it: what is equal is computed once, and over a clip's steps kept.

Prompts are followed by zero rows up to the context's width, and every row is attended. Rows of zeros stay equal to each
other in every layer, so one of them stands for all n: softmax over n equal scores is softmax over one that log(n) is
added to. That is the same sum in another order, for the gradients too.

Axes: b sample, m text row, h head, d channel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mova_core.models.attention import CrossAttention
    from mova_core.models.tower import Tower

KEPT_BYTES = 128 << 20
"""The most that one context keeps of keys and values, which no plan of the device's memory counts. A full-size model
makes them anew: at its 43,000 tokens they are a thousandth of a step."""


class TextContext:
    """Text rows that several towers, layers and steps attend to.

    Parameters
    ----------
    text : embeddings `[b, m, text_dim]`, rows past a prompt's end zero.
    keep : whether to remember what was projected. For sampling, where weights and text stay; not with gradients.
    product_dtype : of the towers' products. In less than float32, log(n) would be rounded too coarsely, and all rows
        are kept.
    """

    def __init__(self, text: torch.Tensor, product_dtype: torch.dtype, *, keep: bool = False) -> None:
        exact = product_dtype in (torch.float32, torch.float64)
        self.text, self.bias = without_padding(text) if exact else (text, None)
        self.keep = keep
        self._embedded: dict[int, torch.Tensor] = {}
        self._projected: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._bytes = 0

    def of(self, tower: Tower) -> TowerContext:
        """The text in a tower's width."""
        rows = self._embedded.get(id(tower))
        if rows is None:
            rows = tower.embed_text(self.text)
            if self.keep:
                self._embedded[id(tower)] = rows
        return TowerContext(self, rows)

    def keys_and_values(self, attention: CrossAttention, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values `[b, m, h, d]` of the rows."""
        found = self._projected.get(id(attention))
        if found is None:
            found = attention.project(rows)
            size = sum(part.nbytes for part in found)
            if self.keep and self._bytes + size <= KEPT_BYTES:
                self._projected[id(attention)] = found
                self._bytes += size
        return found


class TowerContext:
    """A `TextContext` in one tower's width; what the tower's layers attend to."""

    def __init__(self, context: TextContext, rows: torch.Tensor) -> None:
        self._context = context
        self.rows = rows
        self.bias = context.bias

    def keys_and_values(self, attention: CrossAttention) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values `[b, m, h, d]`."""
        return self._context.keys_and_values(attention, self.rows)


class ContextMemory:
    """The contexts of one sampling run: a text that was seen before brings what was made of it."""

    def __init__(self, product_dtype: torch.dtype) -> None:
        self._product_dtype = product_dtype
        self._seen: list[tuple[torch.Tensor, TextContext]] = []

    def __call__(self, text: torch.Tensor) -> TextContext:
        """The context of `text` `[b, m, text_dim]`, which must not be written to afterwards."""
        for seen, context in self._seen:
            if seen.shape == text.shape and torch.equal(seen, text):
                return context
        context = TextContext(text, self._product_dtype, keep=True)
        self._seen.append((text, context))
        return context


def without_padding(text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`text` with the zero rows at the end of all its samples as one, and what to add to the scores of each row `[m]`.

    The bias is None, and the text as it was, where fewer than two such rows are.
    """
    if text.is_meta or text.shape[1] < 2:
        return text, None
    used = text.ne(0).any(dim=2).any(dim=0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 0
    num_zero = text.shape[1] - length
    if num_zero < 2:
        return text, None
    bias = text.new_zeros(length + 1)
    bias[-1] = math.log(num_zero)
    return text[:, : length + 1], bias
