"""The joint forward: what the Bridge switch does, per-sample timesteps, gradients, sizes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import pytest
import torch

from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import set_compute_dtype
from mova_core.models.video_tower import VideoTowerConfig

Batch = dict[str, torch.Tensor]
FPS = 24.0


def run(model: DualTower, batch: Batch, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    options = {"expert": "high_noise", "video_fps": FPS, **options}
    velocities: tuple[torch.Tensor, torch.Tensor] = model(**batch, **options)
    return velocities


def rows(batch: Batch, index: int) -> Batch:
    return {name: value[index : index + 1] for name, value in batch.items()}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("expert", ["high_noise", "low_noise"])
def test_bridge_off_is_the_two_towers_apart(make_model: Callable[..., DualTower], batch: Batch, expert: str) -> None:
    model = make_model()
    video, audio = run(model, batch, expert=expert, bridge=False)
    latents = torch.cat((batch["video_latents"], batch["condition"]), dim=1)
    tower = model.video_dit if expert == "high_noise" else model.video_dit_2
    assert tower is not None
    assert torch.equal(video, tower(latents, batch["video_timestep"], batch["text"]))
    assert torch.equal(audio, model.audio_only(batch["audio_latents"], batch["audio_timestep"], batch["text"]))


def test_a_mask_switches_each_sample_exactly(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model()
    mixed = run(model, batch, bridge=torch.tensor([True, False, True]))
    on, off = run(model, batch, bridge=True), run(model, batch, bridge=False)
    for found, with_bridge, without in zip(mixed, on, off, strict=True):
        assert torch.equal(found[0], with_bridge[0])
        assert torch.equal(found[1], without[1])
        assert torch.equal(found[2], with_bridge[2])
        assert not torch.equal(with_bridge[1], without[1])


@pytest.mark.parametrize("pooled", [False, True])
def test_nothing_crosses_a_bridge_that_is_off(make_model: Callable[..., DualTower], batch: Batch, pooled: bool) -> None:
    model = make_model(bridge_pooled_adaln=pooled)
    mask = torch.tensor([True, False, True])
    video, audio = run(model, batch, bridge=mask)
    spoilt = {name: value.clone() for name, value in batch.items()}
    spoilt["audio_latents"][1] = torch.nan
    assert torch.equal(run(model, spoilt, bridge=mask)[0], video)
    spoilt = {name: value.clone() for name, value in batch.items()}
    spoilt["video_latents"][1] = torch.nan
    assert torch.equal(run(model, spoilt, bridge=mask)[1], audio)


def test_each_sample_has_its_own_timesteps(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model()
    together = run(model, batch)
    for index in range(3):
        alone = run(model, rows(batch, index))
        for found, expected in zip(together, alone, strict=True):
            close(found[index : index + 1], expected)


def test_one_timestep_may_serve_the_batch(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model()
    shared = batch | {name: batch[name][:1] for name in ("video_timestep", "audio_timestep")}
    repeated = batch | {name: batch[name][:1].expand(3) for name in ("video_timestep", "audio_timestep")}
    for found, expected in zip(run(model, shared), run(model, repeated), strict=True):
        close(found, expected)


@pytest.mark.parametrize(
    "changes",
    [{}, {"bridge_pooled_adaln": True, "bridge_trainable_condition_scale": True}],
    ids=["as released", "pooled, learned scale"],
)
def test_every_parameter_learns(make_model: Callable[..., DualTower], batch: Batch, changes: dict[str, object]) -> None:
    """All but those of the expert that did not serve the batch."""
    model = make_model(**changes)
    for expert, idle in (("high_noise", "video_dit_2."), ("low_noise", "video_dit.")):
        model.zero_grad(set_to_none=True)
        sum(velocity.square().mean() for velocity in run(model, batch, expert=expert)).backward()  # type: ignore[union-attr]  # two tensors
        still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        assert still == {name for name, _ in model.named_parameters() if name.startswith(idle)}


def test_audio_layers_beyond_the_video_towers_depth_run(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model(video_num_layers=1, bridge_visual_layers=1, audio_num_layers=3, bridge_audio_layers=3)
    before = run(model, batch)[1]
    with torch.no_grad():
        model.audio_dit.blocks[2].get_parameter("ffn.0.weight").mul_(2)
    assert not torch.equal(run(model, batch)[1], before)


def test_the_releases_errors_are_repeated_on_request_only(make_model: Callable[..., DualTower], batch: Batch) -> None:
    """It skips audio layers beyond the video tower's depth, and overrides a learned condition scale by 1."""
    model = make_model(
        video_num_layers=1,
        bridge_visual_layers=1,
        audio_num_layers=3,
        bridge_audio_layers=3,
        bridge_trainable_condition_scale=True,
    )
    scale = model.dual_tower_bridge.condition_scale
    assert scale is not None
    with torch.no_grad():
        scale.fill_(0.25)
        before, released = run(model, batch), run(model, batch, as_released=True)
        scale.fill_(1.0)
        model.audio_dit.blocks[2].get_parameter("ffn.0.weight").mul_(2)
        for found, expected in zip(run(model, batch, as_released=True), released, strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(run(model, batch)[0], released[0])
    assert not torch.equal(before[0], released[0])
    assert not torch.equal(before[1], released[1])


def test_a_timestep_for_each_token_is_refused(make_model: Callable[..., DualTower], batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"timesteps are \(3, 12\), expected one a sample or one for all"):
        run(make_model(), batch | {"video_timestep": batch["video_timestep"][:, None].expand(3, 12)})


def test_one_expert_serves_all_noise_levels(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model(num_experts=1)
    assert model.video_dit_2 is None
    high, low = run(model, batch, expert="high_noise"), run(model, batch, expert="low_noise")
    assert torch.equal(high[0], low[0])


def test_the_boundary_itself_belongs_to_the_high_noise_expert(make_model: Callable[..., DualTower]) -> None:
    model = make_model(boundary_ratio=0.9)
    assert model.expert_at(900.0) == "high_noise"
    assert model.expert_at(899.999) == "low_noise"


def test_bfloat16_products_stay_near_float32_and_return_its_dtype(
    make_model: Callable[..., DualTower], batch: Batch
) -> None:
    model = make_model()
    exact = run(model, batch)
    set_compute_dtype(model, torch.bfloat16)
    for found, expected in zip(run(model, batch), exact, strict=True):
        assert found.dtype == torch.float32
        assert 0 < ((found - expected).abs().max() / expected.abs().max()).item() < 0.05


def test_spatial_scale_reaches_both_experts_and_the_configuration(
    make_model: Callable[..., DualTower], batch: Batch
) -> None:
    model = make_model()
    before = {expert: run(model, batch, expert=expert)[0] for expert in ("high_noise", "low_noise")}
    model.set_spatial_rope_scale(0.5)
    assert model.config.video.spatial_rope_scale == 0.5
    for expert, video in before.items():
        assert not torch.equal(run(model, batch, expert=expert)[0], video)


def test_latents_that_do_not_fit_are_refused(make_model: Callable[..., DualTower], batch: Batch) -> None:
    model = make_model()
    with pytest.raises(ValueError, match="expected 36 channels"):
        run(model, batch | {"condition": batch["condition"][:, :19]})
    with pytest.raises(ValueError, match=r"divisible by the patch \(1, 2, 2\)"):
        run(model, batch | {name: batch[name][..., :5] for name in ("video_latents", "condition")})
    with pytest.raises(ValueError, match="expected 5 channels"):
        run(model, batch | {"audio_latents": batch["audio_latents"][:, :4]})


def test_a_bridge_for_other_towers_is_refused(tiny_config: DualTowerConfig) -> None:
    wrong = dataclasses.replace(tiny_config, bridge=dataclasses.replace(tiny_config.bridge, audio_layers=5))
    with pytest.raises(ValueError, match="audio_layers is 5, the tower's is 2"):
        DualTower(wrong)


def test_the_backend_of_every_operator_is_said(
    make_model: Callable[..., DualTower],
    batch: Batch,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kernels.dispatch._said", set())
    with caplog.at_level(logging.INFO, logger="kernels"):
        run(make_model(), batch)
    assert sorted(message.split(":")[0] for message in caplog.messages) == [
        "bridge_attention",
        "gated_residual",
        "modulated_norm",
        "norm_rotate",
    ]


def test_full_size_parameter_counts() -> None:
    """14.29 B an expert, 1.42 B audio, 2.66 B Bridge: the release's, to the parameter."""
    config = DualTowerConfig(
        video=VideoTowerConfig(
            dim=5120, in_dim=36, ffn_dim=13824, out_dim=16, text_dim=4096, freq_dim=256, num_heads=40, num_layers=40
        ),
        audio=AudioTowerConfig(
            dim=1536, in_dim=128, ffn_dim=8960, out_dim=128, text_dim=4096, freq_dim=256, num_heads=12, num_layers=30
        ),
        bridge=BridgeConfig(
            visual_layers=40,
            audio_layers=30,
            visual_hidden_dim=5120,
            audio_hidden_dim=1536,
            audio_fps=50.0,
            head_dim=128,
        ),
    )
    with torch.device("meta"):
        model = DualTower(config)
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    assert counts == {
        "video_dit": 14_288_901_184,
        "video_dit_2": 14_288_901_184,
        "audio_dit": 1_419_193_472,
        "dual_tower_bridge": 2_659_737_600,
    }
