"""Guidance by text, and by text and Bridge (dual guidance, report section 3.4).

v = v(0,0) + s_B [v(0,B) - v(0,0)] + s_T [v(T,B) - v(0,B)], where 0 stands for the empty (or negative) prompt in the
first place and for no cross-modal injection in the second. Written as a weighted sum over three branches,

    v = (1 - s_B) v(0,0) + (s_B - s_T) v(0,B) + s_T v(T,B),

a branch of weight zero need not be evaluated: s_B = 1 leaves text guidance with two evaluations, s_B = s_T leaves two,
both 1 leave one. The branches that remain run as one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from mova_core.diffusion.flow import Pair


@dataclass(frozen=True)
class Branch:
    """One evaluation: with the prompt or without, with the Bridge or without, and its weight in the sum."""

    text: bool
    bridge: bool
    weight: float


@dataclass(frozen=True)
class Guidance:
    """How strongly to follow the prompt and the other modality; both 1 is no guidance.

    Attributes
    ----------
    text_scale : 1 follows the conditional model, more exaggerates what the prompt changes.
    bridge_scale : 1 leaves the Bridge as trained, more exaggerates what it changes.
    bridge : False samples without cross-modal injection, whatever `bridge_scale` says.
    """

    text_scale: float = 1.0
    bridge_scale: float = 1.0
    bridge: bool = True

    @property
    def terms(self) -> tuple[Branch, ...]:
        """The formula's three terms, those of weight zero included; their weights sum to 1."""
        text, bridge = self.text_scale, self.bridge_scale if self.bridge else 1.0
        return (
            Branch(text=False, bridge=False, weight=1.0 - bridge),
            Branch(text=False, bridge=self.bridge, weight=bridge - text),
            Branch(text=True, bridge=self.bridge, weight=text),
        )

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The terms that need an evaluation."""
        return tuple(term for term in self.terms if term.weight != 0.0)


class JointModel(Protocol):
    """What guidance calls: the velocities of a batch, with the Bridge switched sample by sample."""

    def __call__(
        self, video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int, /
    ) -> Pair:
        """Velocities for `copies` stacked copies of the caller's batch.

        Parameters
        ----------
        video, audio : latents `[copies * b, ...]`.
        text : embeddings `[copies * b, m, d]`.
        bridge : bool `[copies * b]`, or one for all.
        copies : how often whatever else the model needs (first frames) must be repeated along the batch.
        """
        ...


def guided_velocity(
    model: JointModel, latents: Pair, text: torch.Tensor, empty_text: torch.Tensor, branches: tuple[Branch, ...]
) -> Pair:
    """The weighted sum of the branches' velocities, evaluated as one batch.

    Parameters
    ----------
    latents : (video, audio), `[b, ...]` each.
    text : prompt embeddings `[b, m, d]`.
    empty_text : those of the empty or negative prompt, `[b or 1, m, d]`; unused where no branch needs it.
    branches : `Guidance.branches`.

    Returns
    -------
    The guided velocities of (video, audio).
    """
    copies, batch = len(branches), text.shape[0]
    video, audio = (x.repeat(copies, *([1] * (x.dim() - 1))) for x in latents)
    texts = torch.cat([text if branch.text else empty_text.expand_as(text) for branch in branches])
    video_velocity, audio_velocity = model(video, audio, texts, _switches(branches, batch, text.device), copies)
    weights = torch.tensor([branch.weight for branch in branches], dtype=torch.float64)
    return _weighted(video_velocity, weights), _weighted(audio_velocity, weights)


def _switches(branches: tuple[Branch, ...], batch: int, device: torch.device) -> torch.Tensor | bool:
    """One switch for all where the branches agree, so that a Bridge that is off everywhere is not computed."""
    if len({branch.bridge for branch in branches}) == 1:
        return branches[0].bridge
    return torch.tensor([branch.bridge for branch in branches], device=device).repeat_interleave(batch)


def _weighted(stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    wide = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
    parts = wide.reshape(len(weights), -1, *stacked.shape[1:])
    return (weights.to(wide).reshape(-1, *([1] * stacked.dim())) * parts).sum(dim=0)
