"""What prompts say to the model, encoded when it is asked for or, for several batches, in advance.

The released text encoder is 11 GB. Encoding many prompts one after the other brings it to the device once, and a batch
that is asked for again, as the windows of a longer clip are, does not need it at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from mova_core.codecs.base import TextEncoder
from mova_core.inference.guiding import guidance_of
from mova_core.inference.inputs import Settings
from mova_core.inference.known import KnownPair

MOST_KEPT = 16
"""Prompts that are kept at once: at the released width 8 MB each."""

Texts = tuple[torch.Tensor, torch.Tensor | None]
"""Embeddings of prompts `[b, m, d]`, and of a negative prompt `[1, m, d]`, or None where none is evaluated."""
Wording = tuple[tuple[str, ...], str | None]
"""The prompts of a batch, and its negative prompt."""


def wording_of(prompts: Sequence[str], negative_prompt: str, settings: Settings) -> Wording:
    """What is encoded of a batch: no negative prompt where guidance evaluates none."""
    used = guidance_of(settings, KnownPair()).uses_empty_text
    return tuple(prompts), negative_prompt if used else None


class PromptTexts:
    """Encodes prompts batch by batch, and keeps the batch before, or those that it was told of, in host memory.

    What it returns is kept, so it must not be written to.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._kept: dict[Wording, Texts] = {}

    def __call__(self, prompts: Sequence[str], negative_prompt: str | None = "") -> Texts:
        """The embeddings of a batch."""
        wording = tuple(prompts), negative_prompt
        if wording in self._kept:
            return self._kept[wording]
        texts = self._encoded(wording)
        self._kept = {wording: _on_host(texts)} if len(prompts) <= MOST_KEPT else {}
        return texts

    def encode_ahead(self, batches: Iterable[Wording]) -> None:
        """Encodes batches now, each as it would be when it is asked for, so that no bit differs; forgets all others."""
        self._kept = {wording: _on_host(self._kept.get(wording) or self._encoded(wording)) for wording in batches}

    def _encoded(self, wording: Wording) -> Texts:
        prompts, negative_prompt = wording
        if negative_prompt is None:
            return self._encoder.encode(list(prompts))[0], None
        texts, _ = self._encoder.encode([*prompts, negative_prompt])
        return texts[:-1], texts[-1:]


def _on_host(texts: Texts) -> Texts:
    return texts[0].cpu(), None if texts[1] is None else texts[1].cpu()
