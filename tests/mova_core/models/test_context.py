"""The text context: shorter than its padding and made once, with the numbers of every row attended at every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mova_core.models.context import ContextMemory, TextContext, without_padding
from mova_core.models.dual_tower import DualTower
from mova_core.models.layers import set_compute_dtype


@pytest.fixture
def padded(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Prompts of 3, 1 and 2 rows in a context of 16."""
    text = torch.zeros(3, 16, 6)
    for sample, length in enumerate((3, 1, 2)):
        text[sample, :length] = batch["text"][sample, :length]
    return batch | {"text": text}


def full_context(text: torch.Tensor) -> TextContext:
    """All rows, as no padding is looked for in front of narrow products."""
    return TextContext(text, torch.bfloat16)


def test_one_row_stands_for_the_padding_of_the_longest_prompt(padded: dict[str, torch.Tensor]) -> None:
    rows, bias = without_padding(padded["text"])
    assert rows.shape == (3, 4, 6)
    assert bias is not None
    torch.testing.assert_close(bias.exp(), torch.tensor([1.0, 1.0, 1.0, 13.0]))


def test_text_without_padding_is_left_as_it_is(batch: dict[str, torch.Tensor]) -> None:
    rows, bias = without_padding(batch["text"])
    assert rows is batch["text"]
    assert bias is None


def test_an_empty_text_is_one_row(padded: dict[str, torch.Tensor]) -> None:
    rows, bias = without_padding(torch.zeros_like(padded["text"]))
    assert rows.shape[1] == 1
    assert bias is not None
    assert bias.exp().item() == pytest.approx(16)


def test_velocities_and_gradients_are_those_of_all_rows(
    make_model: Callable[..., DualTower], padded: dict[str, torch.Tensor]
) -> None:
    model = make_model().double()
    doubled = {name: value.double() for name, value in padded.items()}

    def outcome(text: torch.Tensor | TextContext) -> list[torch.Tensor]:
        model.zero_grad()
        video, audio = model(**doubled | {"text": text}, expert="high_noise", video_fps=24.0)
        (video.square().sum() + audio.square().sum()).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        return [video.detach(), audio.detach(), *gradients]

    for short, full in zip(outcome(doubled["text"]), outcome(full_context(doubled["text"])), strict=True):
        torch.testing.assert_close(short, full, rtol=1e-9, atol=1e-9)


def test_what_is_kept_serves_both_experts_and_changes_nothing(
    make_model: Callable[..., DualTower], padded: dict[str, torch.Tensor]
) -> None:
    model = make_model()
    memory = ContextMemory(torch.float32)
    with torch.inference_mode():
        for expert in ("high_noise", "low_noise", "high_noise", "low_noise"):
            kept = model(**padded | {"text": memory(padded["text"].clone())}, expert=expert, video_fps=24.0)
            fresh = model(**padded, expert=expert, video_fps=24.0)
            for own, other in zip(kept, fresh, strict=True):
                assert torch.equal(own, other)


def test_a_text_that_was_seen_is_not_embedded_again(
    make_model: Callable[..., DualTower], padded: dict[str, torch.Tensor]
) -> None:
    model = make_model()
    calls: list[int] = []
    for module in (model.audio_dit.text_embedding, model.audio_dit.blocks[1].cross_attn.k):
        module.register_forward_hook(lambda *_: calls.append(1))
    memory = ContextMemory(torch.float32)
    other = padded["text"] + 1
    with torch.inference_mode():
        for text in (padded["text"], other, padded["text"], other):
            model(**padded | {"text": memory(text)}, expert="high_noise", video_fps=24.0)
    assert len(calls) == 4


def test_narrow_products_keep_every_row(make_model: Callable[..., DualTower], padded: dict[str, torch.Tensor]) -> None:
    model = make_model()
    set_compute_dtype(model, torch.bfloat16)
    assert TextContext(padded["text"], model.audio_dit.product_dtype).bias is None
