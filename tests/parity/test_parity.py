"""Agreement with numbers recorded from the released reference implementation.

The recordings lie in the folder that MOVA_PARITY_DIR names, by default ../shared/parity beside the repository. Each
case says of which kind it is; a kind is checked here or in the file that ELSEWHERE names, and anything else fails.
`rel_to_max` is max|a - b| / max|b|; the tolerances are those that the recordings suggest.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kernels.aligned_rope.reference import rotate_interleaved
from mova_core.diffusion.flow import noised
from mova_core.diffusion.guidance import Guidance, guided_velocity
from mova_core.diffusion.schedule import PairedSchedule, Point, paired_schedule, snapped_as_released, training_grid
from mova_core.diffusion.solvers import Euler, Pair, integrate
from mova_core.models.audio_tower import AudioTower, AudioTowerConfig
from mova_core.models.bridge import Bridge, BridgeConfig, interaction_layers
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import sinusoid
from mova_core.models.layout import component_config
from mova_core.models.rope import aligned_rotations, audio_rotation, video_rotation
from mova_core.models.tower import Tower
from mova_core.models.video_tower import VideoTower, VideoTowerConfig
from mova_core.models.weights import load_model

FOLDER = Path(os.environ.get("MOVA_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))
MANIFEST = FOLDER / "manifest.json"
CASES: list[dict[str, Any]] = json.loads(MANIFEST.read_text())["cases"] if MANIFEST.is_file() else []

ELSEWHERE = {"wan_vae": "test_codec_parity.py", "dac_vae": "test_codec_parity.py"}
"""Kinds that another file checks."""
PIPELINE_NOT_BUILT = "the released codecs and text encoder (from recorded condition and embeddings, denoising agrees)"

MODULE_TOLERANCE = 1e-5
TABLE_TOLERANCE = 1e-12
SINGLE_TABLE_TOLERANCE = 1e-6
SCHEDULE_TOLERANCE = 1e-6
LATENT_TOLERANCE = 2e-5
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 2e-4
BFLOAT16_SLACK = 1.5
TEXT_ROWS = 512

Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")


def rel_to_max(found: torch.Tensor, expected: torch.Tensor) -> float:
    wide = torch.complex128 if expected.is_complex() else torch.float64
    found, expected = found.detach(), expected.detach()
    return float((found.to(wide) - expected.to(wide)).abs().max() / expected.to(wide).abs().max())


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str = "output") -> None:
    assert found.shape == expected.shape, what
    assert rel_to_max(found, expected) <= tolerance, what


def as_complex(stored: torch.Tensor) -> torch.Tensor:
    # A copy: tensors mapped from a file may lie at addresses on which PyTorch's complex operators crash.
    return torch.view_as_complex(stored.clone())


def weights_of(tensors: Tensors, prefix: str = "weights.") -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def tower_of(case: Mapping[str, Any], tensors: Tensors) -> Tower:
    weights = weights_of(tensors)
    tower = (
        VideoTower(component_config(VideoTowerConfig, case["config"]))
        if "video" in case["kind"]
        else AudioTower(component_config(AudioTowerConfig, case["config"]))
    )
    tower.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return tower


@torch.no_grad()
def check_tower(case: Mapping[str, Any], tensors: Tensors) -> None:
    out = tower_of(case, tensors)(tensors["x"], tensors["timestep"], tensors["context"])
    assert out.dtype == tensors["x"].dtype
    if "out_fp32_math" in tensors:
        exact = tensors["out_fp32_math"]
        assert rel_to_max(out, exact) <= BFLOAT16_SLACK * rel_to_max(tensors["out"], exact)
        return
    assert_close(out, tensors["out"], MODULE_TOLERANCE)
    if "out_fp64" in tensors:
        tower = tower_of(case, tensors).double()
        exact = tower(tensors["x"].double(), tensors["timestep"].double(), tensors["context"].double())
        assert_close(exact, tensors["out_fp64"], 1e-9, "output in float64")


def check_rope(case: Mapping[str, Any], tensors: Tensors) -> None:
    for head_dim in case["config"]["head_dims"]:
        third = head_dim // 3
        split = (head_dim - 2 * third, third, third)
        for axis, name in enumerate("fhw"):
            grid = tuple(64 if own == axis else 1 for own in range(3))
            rotation = video_rotation(grid, head_dim, 1.0, CPU, torch.float64)  # type: ignore[arg-type]  # three axes
            own = rotation.unit_by_token.split([width // 2 for width in split], dim=-1)[axis]
            assert_close(own, as_complex(tensors[f"video3d.hd{head_dim}.{name}"]), TABLE_TOLERANCE, name)
        for scheme in ("dac", "oobleck"):
            expected = [as_complex(tensors[f"audio_{scheme}.hd{head_dim}.{part}"]) for part in range(3)]
            rotation = audio_rotation(64, head_dim, scheme, CPU, torch.float64)
            assert_close(rotation.unit_by_token, torch.cat(expected, dim=-1), TABLE_TOLERANCE, scheme)
        x = tensors[f"apply.hd{head_dim}.x"]
        table = as_complex(tensors[f"apply.hd{head_dim}.freqs"])[:, 0]
        rotated = rotate_interleaved(x.unflatten(-1, (-1, head_dim)), table.to(torch.complex64)).flatten(2)
        assert_close(rotated, tensors[f"apply.hd{head_dim}.out"], SINGLE_TABLE_TOLERANCE)
    for dim in (32, 256):
        assert_close(
            sinusoid(tensors[f"sinusoid.d{dim}.t"], dim), tensors[f"sinusoid.d{dim}.out_fp64"], TABLE_TOLERANCE
        )


def check_interaction_layers(case: Mapping[str, Any], tensors: Tensors) -> None:
    for key, expected in case["expected"].items():
        depths, strategy = key.split(":")
        visual, audio = map(int, depths.split("x"))
        assert interaction_layers(strategy, visual, audio) == tuple(expected), key


@torch.no_grad()
def check_bridge(case: Mapping[str, Any], tensors: Tensors) -> None:
    config = component_config(BridgeConfig, case["config"])
    bridge = Bridge(config)
    bridge.load_state_dict(weights_of(tensors))
    assert list(bridge.layers) == case["interaction_layers"]
    visual, audio = tensors["visual"], tensors["audio"]
    grid = tuple(case["grid"])
    rotations = bridge.rotations(grid, case["audio_steps"], case["fps"], like=visual)  # type: ignore[arg-type]  # three axes
    for found, modality in zip(rotations, "va", strict=True):
        assert (found is None) != config.apply_cross_rope
        if found is not None:
            cos, sin = (table.repeat(1, 2) for table in found.by_token)
            assert_close(cos, tensors[f"cos_{modality}"][0], SINGLE_TABLE_TOLERANCE)
            assert_close(sin, tensors[f"sin_{modality}"][0], SINGLE_TABLE_TOLERANCE)
    scales = {"s0": (0.0, 0.0), "s05": (0.5, 0.5), "s1": (1.0, 1.0), "none": (None, None)}
    scales |= {"a05_v1": (0.5, 1.0), "a1_v0": (1.0, 0.0)}
    for name in {key.rsplit(".", 1)[0] for key in case["expected"]}:
        _, layer, scale = name.split(".")
        to_video, to_audio = scales[scale]
        found = bridge(
            int(layer.removeprefix("layer")),
            visual,
            audio,
            rotations,
            grid[0],
            audio_to_video_scale=to_video,
            video_to_audio_scale=to_audio,
        )
        assert_close(found[0], tensors[f"{name}.visual"], MODULE_TOLERANCE, name)
        assert_close(found[1], tensors[f"{name}.audio"], MODULE_TOLERANCE, name)


def check_aligned_tables(case: Mapping[str, Any], tensors: Tensors) -> None:
    for key, config in case["config"].items():
        for dtype, suffix in ((torch.float32, ""), (torch.bfloat16, "_bf16")):
            video, audio = aligned_rotations(
                tuple(config["grid_size"]),
                config["audio_steps"],
                config["head_dim"],
                config["video_fps"],
                config["audio_fps"],
                config["first_frame_bias"],
                CPU,
                dtype,
            )
            found_tables = zip(("cos_v", "sin_v", "cos_a", "sin_a"), (*video.by_token, *audio.by_token), strict=True)
            for name, half in found_tables:
                stored, found = f"{key}.{name}{suffix}", half.repeat(1, 2)
                if stored in tensors:
                    assert found.dtype == dtype
                    one_step = torch.finfo(dtype).eps if dtype == torch.bfloat16 else SINGLE_TABLE_TOLERANCE
                    assert_close(found, tensors[stored][0], one_step, stored)


def joint_model(case: Mapping[str, Any], tensors: Tensors) -> DualTower:
    if case["weights_from_checkpoint"]:
        return load_model(FOLDER / case["weights_from_checkpoint"])
    model = DualTower(
        DualTowerConfig(
            component_config(VideoTowerConfig, case["config"]["video_dit"]),
            component_config(AudioTowerConfig, case["config"]["audio_dit"]),
            component_config(BridgeConfig, case["config"]["dual_tower_bridge"]),
            num_experts=1,
        )
    )
    model.load_state_dict(weights_of(tensors))
    return model


@torch.no_grad()
def check_joint_step(case: Mapping[str, Any], tensors: Tensors) -> None:
    model = joint_model(case, tensors)
    latents = tensors["visual_latents"]
    video, audio = model(
        latents[:, :16],
        latents[:, 16:],
        tensors["audio_latents"],
        tensors["timestep"],
        tensors.get("audio_timestep", tensors["timestep"]),
        tensors["context"],
        expert="low_noise" if case["visual_dit"] == "video_dit_2" else "high_noise",
        video_fps=case["video_fps"],
    )
    assert_close(video, tensors["out_visual"], MODULE_TOLERANCE, "video")
    assert_close(audio, tensors["out_audio"], MODULE_TOLERANCE, "audio")


def check_schedules(case: Mapping[str, Any], tensors: Tensors) -> None:
    for key, config in case["config"].items():
        check_schedule(config, weights_of(tensors, f"{key}."))


def check_schedule(config: Mapping[str, Any], tensors: Tensors) -> None:
    """The recorded loss weights over timesteps are not checked: the report's loss has none, nor has the release's."""
    extra = config.get("extra_one_step", False)
    overrides = config.get("set_kwargs", {})
    pair = config.get("pair", {})
    shift = overrides.get("shift", config["shift"])
    schedule = paired_schedule(
        config["steps"],
        video_shift=pair.get("visual_shift", shift),
        audio_shift=pair.get("audio_shift", shift),
        strength=overrides.get("denoising_strength", 1.0),
        extra_one_step=extra,
    )
    found = torch.tensor([[p.video_sigma, p.audio_sigma, p.video_timestep, p.audio_timestep] for p in schedule.points])
    assert_close(found[:-1, :2], tensors["pairs_sigmas"], SCHEDULE_TOLERANCE)
    assert_close(found[:-1, 2:], tensors["pairs_timesteps"], SCHEDULE_TOLERANCE)
    assert found[-1].tolist() == [0, 0, 0, 0]
    if not pair:
        assert_close(found[:-1, 0], tensors["sigmas"], SCHEDULE_TOLERANCE)
        assert_close(found[:-1, 2], tensors["timesteps"], SCHEDULE_TOLERANCE)

    grid = training_grid(config["shift"], extra)
    assert_close(grid, tensors["train_sigmas"], SCHEDULE_TOLERANCE)
    assert_close(grid * 1000, tensors["train_timesteps"], SCHEDULE_TOLERANCE)
    assert_close(grid * 1000, tensors["training_timesteps"], SCHEDULE_TOLERANCE)
    assert int((grid * 1000 >= 900).sum()) == config["n_train_ts_ge_900"]

    snapped = snapped_as_released(schedule, grid)
    x, v = tensors["step_x"], tensors["step_v"]
    final = integrate(lambda latents, point: (v, v), (x, x), snapped, Euler())
    for column, sigmas in enumerate(zip(*((p.video_sigma, p.audio_sigma) for p in snapped.points), strict=True)):
        recorded = tensors["sigma_from_to"][column]
        assert_close(torch.tensor(sigmas[:-1]), recorded[:, 0], SCHEDULE_TOLERANCE, "sigma before the step")
        assert_close(torch.tensor(sigmas[1:]), recorded[:, 1], SCHEDULE_TOLERANCE, "sigma after the step")
        assert_close(final[column], tensors[f"step_final_col{column}"], SCHEDULE_TOLERANCE, "all steps")

    # The release steps and noises on the unpaired schedule.
    single = paired_schedule(
        config["steps"],
        video_shift=shift,
        audio_shift=shift,
        strength=overrides.get("denoising_strength", 1.0),
        extra_one_step=extra,
    )
    start, end = single.points[config["steps"] // 2 : config["steps"] // 2 + 2]
    stepped, _ = Euler().advance(lambda latents, point: (v, v), (x, x), start, end)
    assert_close(stepped, tensors["plain_step"], SCHEDULE_TOLERANCE, "one step")
    sigma = torch.tensor([single.points[config["steps"] // 3].video_sigma])
    assert_close(noised(x, v, sigma), tensors["add_noise"], SCHEDULE_TOLERANCE, "noised")


def padded(text: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(text, (0, 0, 0, TEXT_ROWS - text.shape[1]))


@torch.no_grad()
def check_denoising(case: Mapping[str, Any], tensors: Tensors) -> None:
    """Schedule, experts, guidance and solver, from the recorded noise, condition and embeddings to the last latents."""
    inputs = case["inputs"]
    model = load_model(FOLDER / inputs["checkpoint"])
    scheduler = json.loads((FOLDER / inputs["checkpoint"] / "scheduler" / "scheduler_config.json").read_text())
    shifts = inputs["pair_postprocess"] or {"visual_shift": scheduler["shift"], "audio_shift": scheduler["shift"]}
    exact = paired_schedule(
        inputs["num_inference_steps"],
        video_shift=shifts["visual_shift"],
        audio_shift=shifts["audio_shift"],
        extra_one_step=scheduler["extra_one_step"],
    )
    schedule: PairedSchedule = snapped_as_released(
        exact, training_grid(scheduler["shift"], scheduler["extra_one_step"])
    )
    prompt, empty = padded(tensors["prompt_embeds_valid"]), padded(tensors["negative_embeds_valid"])
    guidance = Guidance.both(inputs["cfg_scale"])
    experts: list[str] = []

    def evaluate(latents: Pair, point: Point) -> Pair:
        expert = model.expert_at(point.video_timestep)
        experts.append("video_dit_2" if expert == "low_noise" else "video_dit")

        def joint(
            video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int
        ) -> Pair:
            return model(
                video,
                tensors["condition"].repeat(copies, 1, 1, 1, 1),
                audio,
                torch.tensor([point.video_timestep]),
                torch.tensor([point.audio_timestep]),
                text,
                expert=expert,
                bridge=bridge,
                video_fps=inputs["video_fps"],
            )

        velocity = guided_velocity(joint, latents, prompt, empty, guidance.branches)
        step = len(experts) - 1
        assert_close(velocity[0], tensors[f"step{step}.pred_video"], LATENT_TOLERANCE, f"video velocity {step}")
        assert_close(velocity[1], tensors[f"step{step}.pred_audio"], LATENT_TOLERANCE, f"audio velocity {step}")
        return velocity

    def after_step(latents: Pair, point: Point) -> Pair:
        step = len(experts) - 1
        assert_close(latents[0], tensors[f"step{step}.latents_video"], LATENT_TOLERANCE, f"video latents {step}")
        assert_close(latents[1], tensors[f"step{step}.latents_audio"], LATENT_TOLERANCE, f"audio latents {step}")
        return latents

    integrate(evaluate, (tensors["noise_video"], tensors["noise_audio"]), schedule, Euler(), after_step)
    calls_a_step = len(case["calls"]) // schedule.num_steps
    assert experts == [call["visual_dit"] for call in case["calls"]][::calls_a_step]


def check_training_step(case: Mapping[str, Any], tensors: Tensors) -> None:
    """Noising, the joint forward, the release's loss (both modalities weigh 1) and every parameter's gradient."""
    model = load_model(FOLDER / case["inputs"]["checkpoint"])
    sigma = {"video": tensors["timestep"] / 1000, "audio": tensors["audio_timestep"] / 1000}
    noisy = {m: noised(tensors[f"{m}_latents"], tensors[f"{m}_noise"], sigma[m]) for m in ("video", "audio")}
    predicted = model(
        noisy["video"],
        tensors["y"],
        noisy["audio"],
        tensors["timestep"],
        tensors["audio_timestep"],
        padded(tensors["context_valid"]),
        expert="low_noise" if case["expert"] == "video_dit_2" else "high_noise",
        video_fps=case["inputs"]["video_fps"],
    )
    losses = []
    for modality, velocity in zip(("video", "audio"), predicted, strict=True):
        assert_close(noisy[modality], tensors[f"noisy_{modality}"], SCHEDULE_TOLERANCE)
        assert_close(velocity, tensors[f"pred_{modality}"], MODULE_TOLERANCE)
        target = tensors[f"{modality}_noise"] - tensors[f"{modality}_latents"]
        losses.append((velocity - target).square().mean())
        assert losses[-1].item() == pytest.approx(tensors[f"{modality}_loss"].item(), rel=LOSS_TOLERANCE)
    loss = losses[0] + losses[1]
    assert loss.item() == pytest.approx(tensors["loss"].item(), rel=LOSS_TOLERANCE)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for name, expected in weights_of(tensors, "grad.").items():
        assert_close(gradients[name], expected, GRADIENT_TOLERANCE, f"gradient of {name}")
    assert gradients.keys() == case["grad_norms_fp64"].keys()
    for name, norm in case["grad_norms_fp64"].items():
        assert math.isclose(float(gradients[name].norm()), norm, rel_tol=GRADIENT_TOLERANCE, abs_tol=1e-7), name


CHECKS: dict[str, Callable[[Mapping[str, Any], Tensors], None]] = {
    "wan_video_forward": check_tower,
    "wan_video_forward_per_sample_t": check_tower,
    "wan_audio_forward": check_tower,
    "rope_and_sinusoid": check_rope,
    "interaction_layers": check_interaction_layers,
    "bridge_forward": check_bridge,
    "aligned_freqs": check_aligned_tables,
    "joint_step": check_joint_step,
    "scheduler": check_schedules,
    "pipeline": check_denoising,
    "train_step": check_training_step,
}


@pytest.mark.skipif(not CASES, reason=f"no recordings at {FOLDER} (set MOVA_PARITY_DIR)")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_agrees_with_the_release(case: dict[str, Any]) -> None:
    if case["kind"] in ELSEWHERE:
        pytest.skip(f"checked in {ELSEWHERE[case['kind']]}")
    tensors = load_file(FOLDER / case["file"]) if "file" in case else {}
    CHECKS[case["kind"]](case, tensors)


@pytest.mark.skipif(not CASES, reason=f"no recordings at {FOLDER} (set MOVA_PARITY_DIR)")
@pytest.mark.parametrize("case_id", [case["id"] for case in CASES if case["kind"] == "pipeline"])
def test_pipeline_agrees_from_prompt_to_media(case_id: str) -> None:
    pytest.skip(f"not built yet: {PIPELINE_NOT_BUILT}")
