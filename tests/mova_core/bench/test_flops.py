"""The formula counts what PyTorch's own counter counts."""

from __future__ import annotations

import pytest
import torch

from mova_core.bench.flops import evaluation_flops
from mova_core.bench.gpu_step import subject_of
from mova_core.bench.random_weights import random_model
from mova_core.training.performance import forward_flops


def test_the_formula_agrees_with_the_counter() -> None:
    subject = subject_of("tiny")
    model = random_model(subject.config, subject.dtype)
    config = subject.config

    def evaluate() -> None:
        model(
            torch.randn(1, *subject.video),
            torch.randn(1, config.video.in_dim - config.video.out_dim, *subject.video[1:]),
            torch.randn(1, *subject.audio),
            torch.tensor([500.0]),
            torch.tensor([500.0]),
            torch.randn(1, subject.num_text_rows, config.video.text_dim),
            expert="high_noise",
            video_fps=24.0,
        )

    with torch.no_grad():
        counted = forward_flops(evaluate)
    assert evaluation_flops(config, subject.num_video_tokens, subject.audio[1], subject.num_text_rows).total == counted


def test_a_released_step_of_two_evaluations_is_five_and_a_half_petaflop() -> None:
    """By hand: 40 layers of 12 L d^2 + 4 L d F in products and 4 L^2 d in scores."""
    subject = subject_of("mova-360p")
    assert subject.num_video_tokens == 43_120
    assert subject.audio[1] == 403
    flops = evaluation_flops(subject.config, 43_120, 403, 512)
    tokens, width, ffn = 43_120, 5120, 13_824
    by_hand = 40 * (12 * tokens * width**2 + 4 * tokens * width * ffn + 4 * tokens**2 * width)
    assert by_hand < flops.video < 1.01 * by_hand
    assert 2 * flops.total == pytest.approx(5.53e15, rel=0.002)
    assert flops.bridge < 0.1 * flops.total
