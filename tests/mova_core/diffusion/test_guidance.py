"""Dual guidance: the formula, its cheap cases, and one batch for all branches."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mova_core.diffusion.flow import Pair
from mova_core.diffusion.guidance import Guidance, Scales, guided_velocity

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
    neither, bridged, both = (
        Model()(*latents, text.expand(2, -1, -1), bridge and guidance.bridge, 1)
        for text, bridge in ((EMPTY, False), (EMPTY, True), (TEXT, True))
    )
    video, audio = (
        n + scales.bridge * (b - n) + scales.text * (t - b)
        for scales, n, b, t in zip((guidance.video, guidance.audio), neither, bridged, both, strict=True)
    )
    return video, audio


@pytest.mark.parametrize(
    ("guidance", "evaluations"),
    [
        (Guidance(), 1),
        (Guidance.both(5.0), 2),
        (Guidance.both(3.5, 3.5), 2),
        (Guidance.both(5.0, 3.5), 3),
        (Guidance.both(0.0, 1.0), 1),
        (Guidance.both(5.0, with_bridge=False), 2),
        (Guidance.both(5.0, 3.5, with_bridge=False), 2),
        (Guidance(bridge=False), 1),
        (Guidance(video=Scales(5.0, 1.0), audio=Scales(3.0, 1.0)), 2),
        (Guidance(video=Scales(5.0, 1.0), audio=Scales(1.0, 1.0)), 2),
        (Guidance(video=Scales(1.0, 1.0), audio=Scales(5.0, 3.5)), 3),
        (Guidance(video=Scales(2.0, 2.0), audio=Scales(3.0, 3.0)), 2),
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
    branches = Guidance(Scales(5.0, 3.5), Scales(2.0, 4.0)).branches
    assert sum(branch.video_weight for branch in branches) == 1
    assert sum(branch.audio_weight for branch in branches) == 1


def test_the_empty_prompt_is_needed_by_guidance_alone(latents: Pair) -> None:
    assert not Guidance().uses_empty_text
    assert Guidance.both(2.0).uses_empty_text
    assert Guidance.both(1.0, 2.0).uses_empty_text
    guided_velocity(Model(), latents, TEXT, None, Guidance().branches)
    with pytest.raises(ValueError, match="empty prompt"):
        guided_velocity(Model(), latents, TEXT, None, Guidance.both(2.0).branches)


def test_a_scale_of_the_sound_leaves_the_picture_as_it_is(latents: Pair) -> None:
    plain = guided_velocity(Model(), latents, TEXT, EMPTY, Guidance.both(3.0).branches)
    other = guided_velocity(Model(), latents, TEXT, EMPTY, Guidance(Scales(3.0), Scales(6.0, 2.0)).branches)
    torch.testing.assert_close(other[0], plain[0], rtol=1e-5, atol=1e-5)
    assert (other[1] - plain[1]).abs().max() > 0.1


def test_a_bridge_that_is_off_in_every_branch_is_not_computed(latents: Pair) -> None:
    switches: list[torch.Tensor | bool] = []

    def model(
        video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int
    ) -> Pair:
        switches.append(bridge)
        return video, audio

    for guidance in (Guidance.both(2.0, with_bridge=False), Guidance.both(2.0), Guidance.both(2.0, 3.0)):
        guided_velocity(model, latents, TEXT, EMPTY, guidance.branches)
    assert switches[:2] == [False, True]
    assert isinstance(switches[2], torch.Tensor)
    assert switches[2].tolist() == [False] * 2 + [True] * 4


def test_the_sum_is_taken_in_float32(latents: Pair) -> None:
    half = (latents[0].bfloat16(), latents[1].bfloat16())
    video, _ = guided_velocity(Model(), half, TEXT.bfloat16(), EMPTY.bfloat16(), Guidance.both(5.0).branches)
    assert video.dtype == torch.float32
