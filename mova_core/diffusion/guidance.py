"""Guidance by text, and by text and Bridge (dual guidance, report section 3.4).

v = v(0,0) + s_B [v(0,B) - v(0,0)] + s_T [v(T,B) - v(0,B)], where 0 stands for the empty (or negative) prompt in the
first place and for no cross-modal injection in the second. Written as a weighted sum over three branches,

    v = (1 - s_B) v(0,0) + (s_B - s_T) v(0,B) + s_T v(T,B),

a branch of weight zero need not be evaluated: s_B = 1 leaves text guidance with two evaluations, s_B = s_T leaves two,
both 1 leave one. Video and audio may have scales of their own: the evaluations are shared, the weights are not. The
branches that remain run as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mova_core.diffusion.flow import Pair


@dataclass(frozen=True)
class Branch:
    """One evaluation: with the prompt or without, with the Bridge or without, and its weight in either sum."""

    text: bool
    bridge: bool
    video_weight: float
    audio_weight: float


@dataclass(frozen=True)
class Scales:
    """How strongly one modality follows the prompt and the other modality; both 1 is no guidance.

    Attributes
    ----------
    text : 1 follows the conditional model, more exaggerates what the prompt changes.
    bridge : 1 leaves the Bridge as trained, more exaggerates what it changes.
    """

    text: float = 1.0
    bridge: float = 1.0

    def weights(self) -> tuple[float, float, float]:
        """Of v(0,0), v(0,B) and v(T,B); they sum to 1."""
        return 1.0 - self.bridge, self.bridge - self.text, self.text


@dataclass(frozen=True)
class Guidance:
    """The scales of both modalities.

    Attributes
    ----------
    bridge : False samples without cross-modal injection, whatever the scales say.
    """

    video: Scales = Scales()
    audio: Scales = Scales()
    bridge: bool = True

    @staticmethod
    def both(text: float = 1.0, bridge: float = 1.0, *, with_bridge: bool = True) -> Guidance:
        """The same scales for both modalities."""
        return Guidance(Scales(text, bridge), Scales(text, bridge), with_bridge)

    @property
    def terms(self) -> tuple[Branch, ...]:
        """The formula's three terms, those of weight zero included; their weights sum to 1."""
        # Without the Bridge the first two branches are one and the same: all weight goes to the second.
        video, audio = (
            (scales if self.bridge else Scales(scales.text, 1.0)).weights() for scales in (self.video, self.audio)
        )
        kinds = ((False, False), (False, self.bridge), (True, self.bridge))
        return tuple(
            Branch(text, bridge, *weights)
            for (text, bridge), weights in zip(kinds, zip(video, audio, strict=True), strict=True)
        )

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The terms that need an evaluation: those that weigh in either modality."""
        return tuple(term for term in self.terms if term.video_weight != 0.0 or term.audio_weight != 0.0)

    @property
    def most_together(self) -> int:
        """The most branches that share the Bridge's switch, and so an evaluation."""
        with_bridge = sum(branch.bridge for branch in self.branches)
        return max(with_bridge, len(self.branches) - with_bridge)

    @property
    def uses_empty_text(self) -> bool:
        """Whether the empty or negative prompt is evaluated at all."""
        return not all(branch.text for branch in self.branches)


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
    model: JointModel,
    latents: Pair,
    text: torch.Tensor,
    empty_text: torch.Tensor | None,
    branches: tuple[Branch, ...],
) -> Pair:
    """The weighted sum of the branches' velocities, evaluated as one batch.

    Parameters
    ----------
    latents : (video, audio), `[b, ...]` each.
    text : prompt embeddings `[b, m, d]`.
    empty_text : those of the empty or negative prompt, `[b or 1, m, d]`; None where no branch needs it.
    branches : `Guidance.branches`.

    Returns
    -------
    The guided velocities of (video, audio).

    Raises
    ------
    ValueError : if a branch needs `empty_text` and there is none.
    """
    copies, batch = len(branches), text.shape[0]
    video, audio = (x.repeat(copies, *([1] * (x.dim() - 1))) for x in latents)
    texts = torch.cat([_text_of(branch, text, empty_text) for branch in branches])
    video_velocity, audio_velocity = model(video, audio, texts, _switches(branches, batch, text.device), copies)
    return (
        _weighted(video_velocity, [branch.video_weight for branch in branches]),
        _weighted(audio_velocity, [branch.audio_weight for branch in branches]),
    )


def _text_of(branch: Branch, text: torch.Tensor, empty_text: torch.Tensor | None) -> torch.Tensor:
    if branch.text:
        return text
    if empty_text is None:
        raise ValueError("guidance evaluates the empty prompt, and its embeddings are missing")
    return empty_text.expand_as(text)


def _switches(branches: tuple[Branch, ...], batch: int, device: torch.device) -> torch.Tensor | bool:
    """One switch for all where the branches agree, so that a Bridge that is off everywhere is not computed."""
    if len({branch.bridge for branch in branches}) == 1:
        return branches[0].bridge
    return torch.tensor([branch.bridge for branch in branches], device=device).repeat_interleave(batch)


def _weighted(stacked: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    wide = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
    parts = wide.reshape(len(weights), -1, *stacked.shape[1:])
    factors = torch.tensor(weights, dtype=torch.float64).to(wide)
    return (factors.reshape(-1, *([1] * stacked.dim())) * parts).sum(dim=0)
