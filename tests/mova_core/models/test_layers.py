"""Norms, time embedding and the precision of products."""

from __future__ import annotations

import pytest
import torch

from mova_core.models.layers import (
    GELU,
    Linear,
    RMSNorm,
    TimeEmbedding,
    set_compute_dtype,
    sinusoid,
)


def test_rms_norm_and_its_written_out_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(5, eps=1e-3).double()
    x = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
    expected = x / (x.square().mean(dim=-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(norm, {"weight": weight}, (x,)), (x, norm.weight)
    )


def test_rms_norm_takes_its_statistics_in_float32() -> None:
    """In bfloat16 the sum of 4096 ones would stick at 256."""
    normed = RMSNorm(4096, eps=1e-6)(torch.ones(1, 4096, dtype=torch.bfloat16))
    assert normed.dtype == torch.bfloat16
    assert (normed == 1).all()


def test_sinusoid_has_cosines_then_sines_in_double_precision() -> None:
    encoded = sinusoid(torch.tensor([0.0, 1000.0]), 8)
    assert encoded.dtype == torch.float64
    assert encoded[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert encoded[1, 4].item() == pytest.approx(torch.tensor(1000.0, dtype=torch.float64).sin().item(), abs=1e-12)


def test_time_embedding_stays_in_float32_inside_a_bfloat16_model() -> None:
    embedding = TimeEmbedding(8, 4).to(torch.bfloat16)
    assert embedding(sinusoid(torch.tensor([500.0]), 8)).dtype == torch.float32


def test_products_run_in_the_compute_dtype() -> None:
    layer = Linear(3, 2)
    assert layer(torch.ones(1, 3)).dtype == torch.float32
    set_compute_dtype(layer, torch.bfloat16)
    assert layer(torch.ones(1, 3)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


def test_gelu_and_its_gradient_are_pytorchs_tanh_form() -> None:
    x = torch.linspace(-12, 12, 4001).requires_grad_()
    own = GELU()(x)
    (gradient,) = torch.autograd.grad(own.sum(), x)
    wide = x.detach().double().requires_grad_()
    expected = torch.nn.functional.gelu(wide, approximate="tanh")
    (expected_gradient,) = torch.autograd.grad(expected.sum(), wide)
    torch.testing.assert_close(own.double(), expected, rtol=0, atol=3e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=3e-6)
