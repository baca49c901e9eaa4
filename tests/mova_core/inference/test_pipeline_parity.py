"""From prompt and picture to latents and frames, against recordings of the released pipeline.

The recordings lie where MOVA_PARITY_DIR says, by default ../shared/parity beside the repository. The released audio
codec is not built here, so its shape stands in for it and sound is compared as latents.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mova_core.codecs.base import Codecs, load_text_encoder, load_video_codec
from mova_core.diffusion.scheduler import Scheduler
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.inputs import Settings
from mova_core.inference.pipeline import MovaPipeline
from mova_core.models.weights import load_model

FOLDER = Path(os.environ.get("MOVA_PARITY_DIR", Path(__file__).parents[3].parent / "shared" / "parity"))
MANIFEST = FOLDER / "manifest.json"
CASES: dict[str, dict[str, Any]] = (
    {case["id"]: case for case in json.loads(MANIFEST.read_text())["cases"]} if MANIFEST.is_file() else {}
)
LATENT_TOLERANCE = 2e-5
MEDIA_TOLERANCE = 1e-4


@dataclasses.dataclass
class ShapeOfDac:
    """What the pipeline asks of the released audio codec before it decodes."""

    sample_rate_hz: int = 48000
    hop: int = 960
    latent_channels: int = 8

    def to(self, _: torch.device) -> ShapeOfDac:
        return self


def rel_to_max(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
@pytest.mark.skipif(not CASES, reason=f"no recordings at {FOLDER} (set MOVA_PARITY_DIR)")
@pytest.mark.parametrize("case_id", ["g_pipeline_cfg1", "g_pipeline_cfg5_boundary", "g_pipeline_dual_sigma"])
def test_the_pipeline_agrees_with_the_release_from_prompt_to_frames(case_id: str) -> None:
    case, recorded = CASES[case_id], load_file(FOLDER / f"{case_id}.safetensors")
    inputs, checkpoint = case["inputs"], FOLDER / "g_ckpt"
    shifts = inputs["pair_postprocess"] or {"visual_shift": 5.0, "audio_shift": 5.0}
    scheduler = Scheduler.load(checkpoint)
    assert (scheduler.video_shift, scheduler.audio_shift, scheduler.num_given_frames) == (5.0, 5.0, 0)
    codecs = Codecs(load_video_codec(checkpoint / "video_vae"), ShapeOfDac(), load_text_encoder(checkpoint))  # type: ignore[arg-type]
    pipeline = MovaPipeline(load_model(checkpoint), codecs, scheduler)
    settings = Settings(
        num_steps=inputs["num_inference_steps"],
        text_guidance=inputs["cfg_scale"],
        bridge_guidance=1.0,
        bridge=True,
        height=inputs["height"],
        width=inputs["width"],
        num_frames=inputs["num_frames"],
        fps=inputs["video_fps"],
        video_shift=shifts["visual_shift"],
        audio_shift=shifts["audio_shift"],
        compat=True,
    )
    texts, _ = codecs.text.encode([case["prompt_cleaned"], case["negative_cleaned"]])
    picture = recorded["image_rgb_uint8"].numpy()[None]
    clips = ClipInputs([case["prompt_cleaned"]], [inputs["torch_manual_seed"]], first_frames=picture)
    encoded = pipeline.encode(texts[:1], texts[1:], clips, settings)
    assert torch.equal(encoded.noise[0], recorded["noise_video"])
    assert torch.equal(encoded.noise[1], recorded["noise_audio"])
    assert rel_to_max(encoded.condition, recorded["condition"]) <= LATENT_TOLERANCE

    video, audio = pipeline.sample(encoded, settings)
    last = settings.num_steps - 1
    assert rel_to_max(video, recorded[f"step{last}.latents_video"]) <= LATENT_TOLERANCE
    assert rel_to_max(audio, recorded[f"step{last}.latents_audio"]) <= LATENT_TOLERANCE
    assert rel_to_max(codecs.video.decode(video), recorded["video_decoded"]) <= MEDIA_TOLERANCE
    frames = pipeline.decode_video(video)[0]
    assert np.abs(frames.astype(int) - recorded["video_uint8"].numpy()).max() <= 1
