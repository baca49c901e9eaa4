"""Noise schedules, solver steps and whole runs of the pipeline against their recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from parity_recordings import (
    FOLDER,
    LATENT_TOLERANCE,
    MEDIA_TOLERANCE,
    SCHEDULE_TOLERANCE,
    Case,
    Tensors,
    assert_close,
    padded,
    weights_of,
)

from mova_core.diffusion.flow import Pair, noised
from mova_core.diffusion.guidance import Guidance, guided_velocity
from mova_core.diffusion.schedule import (
    SIGMA_MIN,
    PairedSchedule,
    Point,
    paired_schedule,
    snapped_as_released,
    training_grid,
)
from mova_core.diffusion.scheduler import FIXED, Scheduler
from mova_core.diffusion.solvers import Euler, integrate
from mova_core.inference.arguments import pictures_of
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.denoising import StepState
from mova_core.inference.inputs import Settings
from mova_core.inference.pipeline import MovaPipeline
from mova_core.models.weights import load_model

RELEASED_SHIFT = 3.0
"""What the release's scheduler takes where it is built without a shift."""
PAIR_OPTIONS = {
    f"{modality}_{option}" for modality in ("visual", "audio") for option in ("shift", "denoising_strength")
}


def check_schedules(case: Case, tensors: Tensors) -> None:
    for key, config in case["config"].items():
        check_schedule(config, weights_of(tensors, f"{key}."))


def check_schedule(config: Mapping[str, Any], tensors: Tensors) -> None:
    """The recorded loss weights over timesteps are not checked: the report's loss has none, nor has the release's."""
    check_options(config)
    ends = {"extra_one_step": config.get("extra_one_step", False), "sigma_min": config.get("sigma_min", SIGMA_MIN)}
    built_with = config.get("shift", RELEASED_SHIFT)
    overrides, pair = config.get("set_kwargs", {}), config.get("pair") or {}
    shift, strength = overrides.get("shift", built_with), overrides.get("denoising_strength", 1.0)

    def column(modality: str) -> tuple[Point, ...]:
        own, begin = shift, strength
        if pair:
            # It is set before the steps are, and keeps to what the scheduler was built with.
            own = pair.get(f"{modality}_shift", built_with)
            begin = pair.get(f"{modality}_denoising_strength", 1.0)
        return paired_schedule(config["steps"], video_shift=own, audio_shift=own, strength=begin, **ends).points

    columns = zip(column("visual"), column("audio"), strict=True)
    schedule = PairedSchedule(
        tuple(Point(v.video_sigma, a.audio_sigma, v.video_timestep, a.audio_timestep) for v, a in columns)
    )
    found = torch.tensor([[p.video_sigma, p.audio_sigma, p.video_timestep, p.audio_timestep] for p in schedule.points])
    assert_close(found[:-1, :2], tensors["pairs_sigmas"], SCHEDULE_TOLERANCE)
    assert_close(found[:-1, 2:], tensors["pairs_timesteps"], SCHEDULE_TOLERANCE)
    assert found[-1].tolist() == [0, 0, 0, 0]
    if not pair:
        assert_close(found[:-1, 0], tensors["sigmas"], SCHEDULE_TOLERANCE)
        assert_close(found[:-1, 2], tensors["timesteps"], SCHEDULE_TOLERANCE)

    grid = training_grid(built_with, **ends)
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
        strength=strength,
        **ends,
    )
    start, end = single.points[config["steps"] // 2 : config["steps"] // 2 + 2]
    stepped, _ = Euler().advance(lambda latents, point: (v, v), (x, x), start, end)
    assert_close(stepped, tensors["plain_step"], SCHEDULE_TOLERANCE, "one step")
    sigma = torch.tensor([single.points[config["steps"] // 3].video_sigma])
    assert_close(noised(x, v, sigma), tensors["add_noise"], SCHEDULE_TOLERANCE, "noised")


def check_options(config: Mapping[str, Any]) -> None:
    """Fails on an option of the recorded scheduler that has no counterpart here, and that a result depends on."""
    known = {"steps", "n_train_ts_ge_900", "shift", "extra_one_step", "sigma_min", "set_kwargs", "pair", *FIXED}
    given = {name: config.get(name, value) for name, value in FIXED.items()}
    unread = {
        *(config.keys() - known),
        *(name for name, value in given.items() if value != FIXED[name]),
        *(config.get("set_kwargs", {}).keys() - {"shift", "denoising_strength"}),
        *((config.get("pair") or {}).keys() - PAIR_OPTIONS),
    }
    assert not unread, f"the recorded schedule has {sorted(unread)}, which no schedule here has"


@torch.no_grad()
def check_denoising(case: Case, tensors: Tensors) -> None:
    """Schedule, experts, guidance and solver, from the recorded noise, condition and embeddings to the last latents."""
    inputs = case["inputs"]
    model = load_model(FOLDER / inputs["checkpoint"])
    shifts = inputs.get("pair_postprocess") or {}
    schedule = Scheduler.load(FOLDER / inputs["checkpoint"]).schedule(
        inputs["num_inference_steps"],
        video_shift=shifts.get("visual_shift"),
        audio_shift=shifts.get("audio_shift"),
        compat=True,
    )
    found = torch.tensor([[p.video_timestep, p.audio_timestep] for p in schedule.points[:-1]])
    assert_close(found, tensors["paired_timesteps"], SCHEDULE_TOLERANCE, "timesteps")
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
                as_released=True,
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


def check_pipeline(case: Case, tensors: Tensors) -> None:
    """From prompts and picture to frames and sound, as a user calls it, with the release's rounding of levels."""
    check_denoising(case, tensors)
    inputs = case["inputs"]
    pipeline = MovaPipeline.from_pretrained(FOLDER / inputs["checkpoint"])
    shifts = inputs.get("pair_postprocess") or {}
    settings = Settings(
        num_steps=inputs["num_inference_steps"],
        text_guidance=inputs["cfg_scale"],
        bridge_guidance=1.0,
        bridge=True,
        height=inputs["height"],
        width=inputs["width"],
        num_frames=inputs["num_frames"],
        fps=inputs["video_fps"],
        video_shift=shifts.get("visual_shift"),
        audio_shift=shifts.get("audio_shift"),
        compat=True,
    )
    clips = ClipInputs(
        [inputs["prompt"]],
        [inputs["torch_manual_seed"]],
        negative_prompt=inputs["negative_prompt"],
        first_frames=pictures_of("image", tensors["image_rgb_uint8"].numpy(), 1, settings),
    )
    pipeline.check(clips, settings)
    text, negative = pipeline.encode_texts(clips.prompts, clips.negative_prompt)
    assert_close(text, padded(tensors["prompt_embeds_valid"]), LATENT_TOLERANCE, "prompt")
    assert_close(negative, padded(tensors["negative_embeds_valid"]), LATENT_TOLERANCE, "negative prompt")
    encoded = pipeline.encode(text, negative, clips, settings)
    assert torch.equal(encoded.noise[0], tensors["noise_video"])
    assert torch.equal(encoded.noise[1], tensors["noise_audio"])
    assert_close(encoded.condition, tensors["condition"], LATENT_TOLERANCE, "condition")

    def on_step(state: StepState) -> None:
        for latents, modality in zip(state.latents, ("video", "audio"), strict=True):
            name = f"step{state.index}.latents_{modality}"
            assert_close(latents, tensors[name], LATENT_TOLERANCE, name)

    video, audio = pipeline.sample(encoded, settings, on_step=on_step)
    assert_close(pipeline.codecs.video.decode(video), tensors["video_decoded"], MEDIA_TOLERANCE, "decoded video")
    assert_close(pipeline.codecs.audio.decode(audio), tensors["audio"], MEDIA_TOLERANCE, "decoded audio")
    frames = pipeline.decode_video(video)[0].astype(int)
    assert np.abs(frames - tensors["video_uint8"].numpy()).max() <= 1
