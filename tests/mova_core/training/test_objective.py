from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mova_core.models.weights import load_model
from mova_core.training.objective import JointBatch, JointObjective, first_frame_condition, levels_of

RECORDINGS = Path(os.environ.get("MOVA_PARITY_DIR", Path(__file__).parents[4] / "shared" / "parity"))
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 2e-4  # what the recordings suggest, relative to the largest value
TEXT_ROWS = 512


@pytest.mark.parametrize("shift", [1.0, 2.0, 5.0])
def test_levels_follow_the_shifted_law(shift: float) -> None:
    """sigma <= s exactly when u <= s / (shift - (shift - 1) s)."""
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    sigma = levels_of(None, shift)(u)
    assert sigma[0] == 0
    assert sigma[-1] == 1
    for level in (0.1, 0.5, 0.9):
        share = (sigma <= level).double().mean().item()
        assert share == pytest.approx(level / (shift - (shift - 1) * level), abs=2e-3)


def test_at_shift_five_the_high_noise_expert_has_36_percent_of_the_levels() -> None:
    sigma = levels_of(None, 5.0)(torch.linspace(0, 1, 100_001, dtype=torch.float64))
    assert (sigma >= 0.9).double().mean().item() == pytest.approx(0.357, abs=1e-3)


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_each_expert_stays_on_its_side_with_the_law_conditioned(shift: float) -> None:
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    everything = levels_of(None, shift)(u)
    for expert, own in (("high_noise", everything[everything >= 0.9]), ("low_noise", everything[everything < 0.9])):
        sigma = levels_of(expert, shift, 0.9)(u)
        assert sigma.min().item() >= (0.9 - 1e-6 if expert == "high_noise" else 0)
        assert sigma.max().item() <= (1 if expert == "high_noise" else 0.9 + 1e-6)
        for quantile in (0.25, 0.5, 0.75):
            expected = torch.quantile(own, quantile).item()
            assert torch.quantile(sigma, quantile).item() == pytest.approx(expected, abs=2e-3)


def test_the_condition_marks_the_first_latent_frame() -> None:
    condition = first_frame_condition(torch.full((2, 3, 4, 2, 2), 7.0))
    assert condition.shape == (2, 7, 4, 2, 2)
    assert condition[:, :4, 0].eq(1).all()
    assert condition[:, :4, 1:].eq(0).all()
    assert condition[:, 4:].eq(7).all()


class Echo(torch.nn.Module):
    """Predicts zero velocity everywhere."""

    def forward(self, video: torch.Tensor, condition: object, audio: torch.Tensor, *_: object, **__: object) -> object:
        return torch.zeros_like(video), torch.zeros_like(audio)


def test_the_given_frame_is_left_out_of_the_loss() -> None:
    video, audio = torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 2, 5)
    batch = JointBatch(
        audio=audio,
        audio_noise=torch.full_like(audio, 2.0),
        audio_sigma=torch.ones(1),
        text=torch.zeros(1, 1, 1),
        video=video,
        video_noise=torch.ones_like(video),
        video_sigma=torch.ones(1),
        condition=video,
        bridge=torch.ones(1, dtype=torch.bool),
        expert="high_noise",
    )
    objective = JointObjective(Echo(), 24.0)  # type: ignore[arg-type]  # stands in for the model
    assert objective(batch).tolist() == [[1.0, 4.0]]
    batch.video_noise[:, :, 0] = 100.0
    assert objective(batch).tolist() == [[1.0, 4.0]]


@pytest.mark.skipif(not (RECORDINGS / "manifest.json").is_file(), reason=f"no recordings at {RECORDINGS}")
@pytest.mark.parametrize(("case", "expert"), [("h_train_even_high", "high_noise"), ("h_train_odd_low", "low_noise")])
def test_loss_and_gradients_are_those_of_the_release(case: str, expert: str) -> None:
    """The release's training step on its recorded draws; it counts the given frame and weighs both losses equally."""
    recorded = load_file(RECORDINGS / f"{case}.safetensors")
    text = torch.nn.functional.pad(recorded["context_valid"], (0, 0, 0, TEXT_ROWS - recorded["context_valid"].shape[1]))
    model = load_model(RECORDINGS / "g_ckpt")
    batch = JointBatch(
        audio=recorded["audio_latents"],
        audio_noise=recorded["audio_noise"],
        audio_sigma=recorded["audio_timestep"] / 1000,
        text=text,
        video=recorded["video_latents"],
        video_noise=recorded["video_noise"],
        video_sigma=recorded["timestep"] / 1000,
        condition=recorded["y"],
        bridge=torch.ones(1, dtype=torch.bool),
        expert="high_noise" if expert == "high_noise" else "low_noise",
    )
    losses = JointObjective(model, 24.0, given_frames=0)(batch)
    losses.sum().backward()
    for found, name in zip(losses[0], ("video_loss", "audio_loss"), strict=True):
        assert found.item() == pytest.approx(recorded[name].item(), rel=LOSS_TOLERANCE)
    weights = dict(model.named_parameters())
    gradients = {name.removeprefix("grad."): value for name, value in recorded.items() if name.startswith("grad.")}
    assert gradients
    for name, expected in gradients.items():
        found = weights[name].grad
        assert found is not None
        assert (found - expected).abs().max() <= GRADIENT_TOLERANCE * expected.abs().max(), name


def test_the_recorded_condition_is_ours() -> None:
    if not (RECORDINGS / "manifest.json").is_file():
        pytest.skip(f"no recordings at {RECORDINGS}")
    recorded = load_file(RECORDINGS / "h_train_even_high.safetensors")["y"]
    assert torch.equal(first_frame_condition(recorded[:, 4:]), recorded)
