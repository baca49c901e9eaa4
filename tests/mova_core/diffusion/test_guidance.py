"""Dual guidance: the formula, its cheap cases, and one batch for all branches."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mova_core.diffusion.flow import Pair
from mova_core.diffusion.guidance import Guidance, guided_velocity

TEXT, EMPTY = torch.ones(2, 3, 4), torch.zeros(1, 3, 4)


@dataclasses.dataclass
class Model:
    """Its velocity tells latents, text and Bridge apart, and it counts what it was asked."""

    samples: int = 0
    calls: int = 0

    def __call__(
        self, video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int, /
    ) -> Pair:
        self.calls += 1
        self.samples += len(video)
        assert len(video) == len(audio) == len(text) == 2 * copies
        text_part = text.mean(dim=(1, 2))
        bridge_part = torch.as_tensor(bridge).expand(len(video)).to(video)
        coupled = 3 * text_part + 5 * bridge_part + 7 * text_part * bridge_part
        return video.sin() + coupled[:, None], audio.cos() * (1 + coupled[:, None])


@pytest.fixture
def latents() -> Pair:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, generator=generator), torch.randn(2, 4, generator=generator)


def general(latents: Pair, guidance: Guidance) -> Pair:
    """v(0,0) + s_B [v(0,B) - v(0,0)] + s_T [v(T,B) - v(0,B)], evaluated term by term."""
    text_scale, bridge_scale = guidance.text_scale, guidance.bridge_scale
    neither, bridged, both = (
        Model()(*latents, text.expand(2, -1, -1), bridge and guidance.bridge, 1)
        for text, bridge in ((EMPTY, False), (EMPTY, True), (TEXT, True))
    )
    video, audio = (
        n + bridge_scale * (b - n) + text_scale * (t - b) for n, b, t in zip(neither, bridged, both, strict=True)
    )
    return video, audio


@pytest.mark.parametrize(
    ("guidance", "evaluations"),
    [
        (Guidance(), 1),
        (Guidance(text_scale=5.0), 2),
        (Guidance(text_scale=3.5, bridge_scale=3.5), 2),
        (Guidance(text_scale=5.0, bridge_scale=3.5), 3),
        (Guidance(text_scale=0.0, bridge_scale=1.0), 1),
        (Guidance(text_scale=5.0, bridge=False), 2),
        (Guidance(text_scale=5.0, bridge_scale=3.5, bridge=False), 2),
        (Guidance(bridge=False), 1),
    ],
)
def test_cheap_cases_equal_the_general_formula(latents: Pair, guidance: Guidance, evaluations: int) -> None:
    model = Model()
    found = guided_velocity(model, latents, TEXT, EMPTY, guidance.branches)
    for value, expected in zip(found, general(latents, guidance), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert (model.calls, model.samples) == (1, 2 * evaluations)
    for value, expected in zip(guided_velocity(Model(), latents, TEXT, EMPTY, guidance.terms), found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_weights_sum_to_one() -> None:
    assert sum(branch.weight for branch in Guidance(text_scale=5.0, bridge_scale=3.5).branches) == 1


def test_a_bridge_that_is_off_in_every_branch_is_not_computed(latents: Pair) -> None:
    switches: list[torch.Tensor | bool] = []

    def model(
        video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int
    ) -> Pair:
        switches.append(bridge)
        return video, audio

    for guidance in (Guidance(text_scale=2.0, bridge=False), Guidance(text_scale=2.0), Guidance(2.0, 3.0)):
        guided_velocity(model, latents, TEXT, EMPTY, guidance.branches)
    assert switches[:2] == [False, True]
    assert isinstance(switches[2], torch.Tensor)
    assert switches[2].tolist() == [False] * 2 + [True] * 4


def test_the_sum_is_taken_in_float32(latents: Pair) -> None:
    half = (latents[0].bfloat16(), latents[1].bfloat16())
    video, _ = guided_velocity(Model(), half, TEXT.bfloat16(), EMPTY.bfloat16(), Guidance(text_scale=5.0).branches)
    assert video.dtype == torch.float32
