"""Towers and Bridge on the kernels: the same outputs and gradients as on their references."""

from __future__ import annotations

import pytest
import torch

from kernels.dispatch import Request
from kernels.testing import device_under_test
from mova_core.models.attention import SelfAttention
from mova_core.models.rope import audio_rotation, video_rotation
from mova_core.models.tower import Block

DEVICE = device_under_test()


def results(block: Block, rotation_of: str) -> dict[str, torch.Tensor]:
    """A block's output and all gradients, on two samples of six tokens."""
    generator = torch.Generator().manual_seed(1)
    x, context, modulation = (torch.randn(2, rows, 24, generator=generator).to(DEVICE) for rows in (6, 3, 6))
    x.requires_grad_()
    if rotation_of == "video":
        rotation = video_rotation((3, 1, 2), 12, 1.0, DEVICE, torch.float32)
    else:
        rotation = audio_rotation(6, 12, "dac", DEVICE, torch.float32)
    y = block.layer(x, *block.cross_attn.project(context), None, modulation, rotation)
    y.square().mean().backward()
    assert x.grad is not None
    grads = {name: parameter.grad for name, parameter in block.named_parameters() if parameter.grad is not None}
    return {"output": y.detach(), "x": x.grad, **grads}


def block(kernels: Request) -> Block:
    made = Block(24, 32, 2, 1e-6, kernels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(mean=0.1, std=0.3, generator=generator)
    return made.to(DEVICE)


@pytest.mark.parametrize("rotation_of", ["video", "audio"])
def test_a_block_on_the_kernels_has_the_references_output_and_gradients(rotation_of: str) -> None:
    found, expected = results(block("triton"), rotation_of), results(block("reference"), rotation_of)
    assert set(found) == set(expected) > {"output", "x", "modulation", "self_attn.norm_q.weight"}
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_forced_backend_reaches_every_part_of_a_tower() -> None:
    asked = {
        type(part).__name__: part.kernels
        for part in block("triton").modules()
        if isinstance(part, Block | SelfAttention)
    }
    assert asked == {"Block": "triton", "SelfAttention": "triton"}
