"""Towers, Bridge, rotary tables, joint steps and training steps against their recordings."""

from __future__ import annotations

import ast
import math
import re

import pytest
import torch
from parity_recordings import (
    CPU,
    FOLDER,
    GRADIENT_TOLERANCE,
    LOSS_TOLERANCE,
    MODULE_TOLERANCE,
    SCHEDULE_TOLERANCE,
    SINGLE_TABLE_TOLERANCE,
    TABLE_TOLERANCE,
    Case,
    Tensors,
    as_complex,
    assert_agrees,
    assert_close,
    one_step,
    padded,
    rel_to_max,
    weights_of,
)

from kernels.aligned_rope import Rotation
from kernels.aligned_rope.reference import rotate_interleaved
from mova_core.diffusion.flow import Pair, noised
from mova_core.diffusion.schedule import training_grid
from mova_core.diffusion.scheduler import Scheduler
from mova_core.models.audio_tower import AudioTower, AudioTowerConfig
from mova_core.models.bridge import Bridge, BridgeConfig, Rotations, interaction_layers
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import sinusoid
from mova_core.models.layout import component_config
from mova_core.models.rope import Grid, aligned_rotations, audio_rotation, video_positions, video_rotation
from mova_core.models.tower import Tower
from mova_core.models.video_tower import VideoTower, VideoTowerConfig
from mova_core.models.weights import load_model


def tower_of(case: Case, tensors: Tensors) -> Tower:
    weights = weights_of(tensors)
    tower = (
        VideoTower(component_config(VideoTowerConfig, case["config"]))
        if "video" in case["kind"]
        else AudioTower(component_config(AudioTowerConfig, case["config"]))
    )
    tower.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return tower


@torch.no_grad()
def check_tower(case: Case, tensors: Tensors) -> None:
    out = tower_of(case, tensors)(tensors["x"], tensors["timestep"], tensors["context"])
    assert out.dtype == tensors["out"].dtype
    assert_agrees(out, tensors, "out")
    if "out_fp64" in tensors:
        tower = tower_of(case, tensors).double()
        exact = tower(tensors["x"].double(), tensors["timestep"].double(), tensors["context"].double())
        assert_close(exact, tensors["out_fp64"], 1e-9, "output in float64")


def check_rope(case: Case, tensors: Tensors) -> None:
    for head_dim in case["config"]["head_dims"]:
        third = head_dim // 3
        split = (head_dim - 2 * third, third, third)
        for axis, name in enumerate("fhw"):
            recorded = as_complex(tensors[f"video3d.hd{head_dim}.{name}"])
            grid = tuple(len(recorded) if own == axis else 1 for own in range(3))
            rotation = video_rotation(grid, head_dim, 1.0, CPU, torch.float64)  # type: ignore[arg-type]  # three axes
            own = rotation.unit_by_token.split([width // 2 for width in split], dim=-1)[axis]
            assert_close(own, recorded, TABLE_TOLERANCE, name)
        for scheme in ("dac", "oobleck"):
            expected = [as_complex(tensors[f"audio_{scheme}.hd{head_dim}.{part}"]) for part in range(3)]
            rotation = audio_rotation(len(expected[0]), head_dim, scheme, CPU, torch.float64)
            assert_close(rotation.unit_by_token, torch.cat(expected, dim=-1), TABLE_TOLERANCE, scheme)
        x = tensors[f"apply.hd{head_dim}.x"]
        table = as_complex(tensors[f"apply.hd{head_dim}.freqs"])[:, 0]
        rotated = rotate_interleaved(x.unflatten(-1, (-1, head_dim)), table.to(torch.complex64)).flatten(2)
        assert_agrees(rotated, tensors, f"apply.hd{head_dim}.out", SINGLE_TABLE_TOLERANCE)
    dims = [int(found[1]) for name in tensors if (found := re.fullmatch(r"sinusoid\.d(\d+)\.t", name))]
    assert dims, "no sinusoids are recorded"
    for dim in dims:
        assert_close(
            sinusoid(tensors[f"sinusoid.d{dim}.t"], dim), tensors[f"sinusoid.d{dim}.out_fp64"], TABLE_TOLERANCE
        )


def check_interaction_layers(case: Case, tensors: Tensors) -> None:
    for key, expected in case["expected"].items():
        depths, strategy = key.split(":")
        visual, audio = map(int, depths.split("x"))
        assert interaction_layers(strategy, visual, audio) == tuple(expected), key


@torch.no_grad()
def check_bridge(case: Case, tensors: Tensors) -> None:
    config = component_config(BridgeConfig, case["config"])
    weights = weights_of(tensors)
    bridge = Bridge(config).to(next(iter(weights.values())).dtype)
    bridge.load_state_dict(weights)
    assert list(bridge.layers) == case["interaction_layers"]
    visual, audio = tensors["visual"], tensors["audio"]
    grid: Grid = tuple(case["grid"])
    rotations = bridge.rotations(grid, case["audio_steps"], case["fps"], like=visual)
    if config.apply_cross_rope:
        rotations = checked_rotations(case, config, tensors, rotations)
    else:
        assert rotations == (None, None)
    calls = {found[0]: found[1] for key in tensors if (found := re.match(r"out\.layer(\d+)\..+(?=\.visual$)", key))}
    assert calls, "no outputs are recorded"
    for name, layer in calls.items():
        to_video, to_audio = recorded_scales(case["expected"][f"{name}.visual"])
        outputs = bridge(
            int(layer),
            visual,
            audio,
            rotations,
            grid[0],
            audio_to_video_scale=to_video,
            video_to_audio_scale=to_audio,
        )
        for output, modality in zip(outputs, ("visual", "audio"), strict=True):
            assert output.dtype == tensors[f"{name}.{modality}"].dtype
            assert_agrees(output, tensors, f"{name}.{modality}")


def checked_rotations(case: Case, config: BridgeConfig, tensors: Tensors, ours: Rotations) -> Rotations:
    """Holds our tables to the recorded ones, and returns the rotations that the recorded calls were given.

    In bfloat16 both are the recorded tables: the release rounds them, and a model that was cast as a whole (not loaded
    in bfloat16) has rounded frequencies as well. Ours keep float32.
    """
    grid: Grid = tuple(case["grid"])
    video = video_positions(grid[0], case["fps"], config.audio_fps, config.apply_first_frame_bias_in_rope)
    positions = {"v": video.repeat_interleave(grid[1] * grid[2]), "a": torch.arange(case["audio_steps"]).float()}
    exponents = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    rounded = {m: torch.outer(p, (1 / 10000**exponents).bfloat16().float()) for m, p in positions.items()}
    narrow = tensors["visual"].dtype == torch.bfloat16
    given = []
    for own, modality in zip(ours, "va", strict=True):
        assert own is not None
        recorded = {kind: tensors[f"{kind}_{modality}"][0] for kind in ("cos", "sin")}
        for half, (kind, table) in zip(own.by_token, recorded.items(), strict=True):
            step = max(SINGLE_TABLE_TOLERANCE, one_step(table.dtype))
            cast_whole = getattr(rounded[modality], kind)().repeat(1, 2)
            if not narrow or rel_to_max(cast_whole, table) > step:
                assert_close(half.repeat(1, 2), table, step, f"{kind} {modality}")
        cos, sin = (table[:, : config.head_dim // 2].float() for table in recorded.values())
        given.append(Rotation(cos, sin, (len(cos), 1, 1), (config.head_dim // 2, 0, 0), "halves"))
    return (given[0], given[1]) if narrow else ours


def recorded_scales(call: str) -> tuple[float | None, float | None]:
    """Factors on what goes to (video, audio), from the keywords at the end of a recorded call's description."""
    found = re.search(r"(\{.*\})\)\[[01]\]$", call)
    assert found, f"no scales in {call!r}"
    keywords = ast.literal_eval(found[1])
    unknown = keywords.keys() - {"condition_scale", "a2v_condition_scale", "v2a_condition_scale"}
    assert not unknown, f"no reading of {sorted(unknown)}"
    both = keywords.get("condition_scale")
    return tuple(keywords.get(f"{way}_condition_scale", both) for way in ("a2v", "v2a"))


def check_aligned_tables(case: Case, tensors: Tensors) -> None:
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
            halves = zip(("cos_v", "sin_v", "cos_a", "sin_a"), (*video.by_token, *audio.by_token), strict=True)
            for name, half in halves:
                stored, found = f"{key}.{name}{suffix}", half.repeat(1, 2)
                if stored in tensors:
                    assert found.dtype == dtype
                    assert_close(found, tensors[stored][0], max(SINGLE_TABLE_TOLERANCE, one_step(dtype)), stored)


def joint_model(case: Case, tensors: Tensors) -> DualTower:
    if case.get("weights_from_checkpoint"):
        return load_model(FOLDER / case["weights_from_checkpoint"], dtype=tensors["out_visual"].dtype)
    model = DualTower(
        DualTowerConfig(
            component_config(VideoTowerConfig, case["config"][case["visual_dit"]]),
            component_config(AudioTowerConfig, case["config"]["audio_dit"]),
            component_config(BridgeConfig, case["config"]["dual_tower_bridge"]),
            num_experts=1,
        )
    )
    weights = {name.replace("video_dit_2.", "video_dit."): value for name, value in weights_of(tensors).items()}
    model.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return model


@torch.no_grad()
def check_joint_step(case: Case, tensors: Tensors) -> None:
    model = joint_model(case, tensors)
    noisy = model.config.video.out_dim
    inputs = {name: tensors[name] for name in ("visual_latents", "audio_latents", "timestep", "context")}
    inputs["audio_timestep"] = tensors.get("audio_timestep", tensors["timestep"])

    def step(visual_latents: torch.Tensor, audio_latents: torch.Tensor, **rest: torch.Tensor) -> Pair:
        velocities: Pair = model(
            visual_latents[:, :noisy],
            visual_latents[:, noisy:] if visual_latents.shape[1] > noisy else None,
            audio_latents,
            rest["timestep"],
            rest["audio_timestep"],
            rest["context"],
            expert="low_noise" if case["visual_dit"] == "video_dit_2" else "high_noise",
            video_fps=case["video_fps"],
            as_released=True,
        )
        return velocities

    for velocity, name in zip(step(**inputs), ("out_visual", "out_audio"), strict=True):
        assert velocity.dtype == tensors[name].dtype
        assert_agrees(velocity, tensors, name)
    if "out_visual_fp64" in tensors:
        model.double()
        exact = step(**{name: value.double() for name, value in inputs.items()})
        for velocity, name in zip(exact, ("out_visual", "out_audio"), strict=True):
            # The reference's sinusoid stays in float32, ours does not.
            assert_close(velocity, tensors[f"{name}_fp64"], SINGLE_TABLE_TOLERANCE, f"{name} in float64")


def check_training_step(case: Case, tensors: Tensors) -> None:
    """Noising, the joint forward, the release's loss (both modalities weigh 1) and every parameter's gradient."""
    model = load_model(FOLDER / case["inputs"]["checkpoint"])
    scheduler = Scheduler.load(FOLDER / case["inputs"]["checkpoint"])
    grid = training_grid(scheduler.video_shift, scheduler.extra_one_step, scheduler.sigma_min)

    def looked_up(timestep: torch.Tensor) -> torch.Tensor:
        # As the release does. It matters where the audio's own shift puts a timestep between two levels.
        return grid[(grid * 1000 - timestep[:, None]).abs().argmin(dim=1)].float()

    sigma = {"video": looked_up(tensors["timestep"]), "audio": looked_up(tensors["audio_timestep"])}
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
        as_released=True,
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
