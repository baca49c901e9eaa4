"""Where tokens lie: the aligned clock, the video's three axes, and the tables' cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels.aligned_rope import norm_rotate
from mova_core.models.rope import (
    aligned_rotations,
    audio_rotation,
    spread_over_audio,
    video_positions,
    video_rotation,
)

CPU = torch.device("cpu")
FPS, AUDIO_HZ = 24.0, 50.0


def test_video_frame_lies_at_s_times_its_index_on_the_audio_clock() -> None:
    s = 50 / 6
    positions = video_positions(49, FPS, AUDIO_HZ, first_frame_bias=False)
    torch.testing.assert_close(positions, torch.arange(49) * s, rtol=1e-6, atol=0)
    # 49 latent frames span 8.17 s, the 403 audio latents of the same clip 8.06 s: they end together.
    assert positions[48] == pytest.approx(400, abs=1e-3)


def test_frame_three_and_audio_token_twenty_five_share_their_rotation() -> None:
    video, audio = aligned_rotations((4, 2, 3), 30, 12, FPS, AUDIO_HZ, False, CPU, torch.float32)
    (video_cos, video_sin), (audio_cos, audio_sin) = video.by_token, audio.by_token
    frame = slice(3 * 6, 4 * 6)
    torch.testing.assert_close(video_cos[frame], audio_cos[25].expand(6, -1), rtol=0, atol=1e-5)
    torch.testing.assert_close(video_sin[frame], audio_sin[25].expand(6, -1), rtol=0, atol=1e-5)


def test_first_frame_bias_moves_later_frames_to_where_they_start() -> None:
    positions = video_positions(3, FPS, AUDIO_HZ, first_frame_bias=True)
    torch.testing.assert_close(positions / AUDIO_HZ, torch.tensor([0.0, 1 / 24, 5 / 24]))


@pytest.mark.parametrize(("fps", "rate_hz"), [(24.0, 50.0), (30.0, 44100 / 2048), (16.0, 50.0)])
@pytest.mark.parametrize("bias", [False, True])
def test_positions_round_as_the_releases_do(fps: float, rate_hz: float, bias: bool) -> None:
    """Operation by operation in float32. Rounded once from float64, a clip's last frames turn 3e-5 further."""
    expected, step = [], np.float32(1 / (fps / 4))
    for index in range(49):
        if bias:
            start = np.float32(index - 1) * step + np.float32(1 / fps) if index else np.float32(0)
            expected.append(start * np.float32(rate_hz))
        else:
            expected.append(np.float32(index) * np.float32(rate_hz / (fps / 4)))
    assert video_positions(49, fps, rate_hz, bias).tolist() == [float(value) for value in expected]


def test_halved_spatial_scale_puts_a_doubled_grid_on_the_trained_positions() -> None:
    trained = video_rotation((2, 3, 4), 12, 1.0, CPU, torch.float32).unit_by_token.view(2, 3, 4, 6)
    doubled = video_rotation((2, 6, 8), 12, 0.5, CPU, torch.float32).unit_by_token.view(2, 6, 8, 6)
    assert torch.equal(doubled[:, ::2, ::2], trained)
    assert not torch.equal(doubled[:, 1::2, 1::2], trained)


def test_video_rotation_runs_over_columns_first_and_splits_the_head() -> None:
    table = video_rotation((2, 2, 2), 12, 1.0, CPU, torch.float64).unit_by_token
    moved = [(table[token] != table[0]).nonzero().flatten().tolist() for token in (1, 2, 4)]
    assert moved == [[4, 5], [2, 3], [0, 1]]


@pytest.mark.parametrize("head_dim", [16, 64])
def test_head_dims_that_split_a_pair_are_refused(head_dim: int) -> None:
    with pytest.raises(ValueError, match=f"head_dim is {head_dim}"):
        video_rotation((1, 1, 1), head_dim, 1.0, CPU, torch.float32)


def test_oobleck_scheme_turns_the_first_part_of_the_head_only() -> None:
    table = audio_rotation(5, 12, "oobleck", CPU, torch.float64).unit_by_token
    assert torch.equal(table[:, 2:], torch.ones(5, 4, dtype=torch.complex128))
    assert (table[1:, 0] != 1).all()
    dac = audio_rotation(5, 12, "dac", CPU, torch.float64).unit_by_token
    assert (dac[1:] != 1).all()


def test_frames_spread_evenly_over_audio() -> None:
    frames = torch.arange(3.0).view(1, 3, 1)
    spread = spread_over_audio(frames, 9)[0, :, 0]
    torch.testing.assert_close(spread, torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2, 2]))


def test_a_table_first_made_while_sampling_serves_training() -> None:
    def turned(x: torch.Tensor) -> torch.Tensor:
        rotation = audio_rotation(7, 12, "dac", CPU, torch.float32)
        return norm_rotate(x, torch.ones(12), rotation, num_heads=1, eps=1e-6)

    audio_rotation.cache_clear()
    x = torch.randn(1, 7, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.inference_mode():
        turned_while_sampling = turned(x)
    turned(x).sum().backward()
    assert not turned_while_sampling.requires_grad
    assert x.grad is not None
