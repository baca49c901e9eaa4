"""Agreement of the adapters of the released codecs with recorded numbers; see `test_parity.py` for the recordings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mova_core.codecs.arrays import video_tensor
from mova_core.codecs.base import load_text_encoder, load_video_codec
from mova_core.codecs.dac_audio import DacAudioCodec, load_dac
from mova_core.codecs.wan_video import WanVideoCodec

FOLDER = Path(os.environ.get("MOVA_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))
MANIFEST = FOLDER / "manifest.json"
LATENT_TOLERANCE = 2e-5
DECODED_TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(not MANIFEST.is_file(), reason=f"no recordings in {FOLDER}")


def case(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    (found,) = [case for case in json.loads(MANIFEST.read_text())["cases"] if case["id"] == name]
    return found, load_file(FOLDER / found["file"])


def rel_to_max(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def test_the_video_vae_gives_the_releases_normalised_latents_and_pictures() -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (extra release-codecs)")
    described, tensors = case("f_wan_vae")
    vae = diffusers.AutoencoderKLWan(**described["config"])
    vae.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("weights.")})
    codec = WanVideoCodec(vae)
    assert rel_to_max(codec.encode(tensors["video"]), tensors["latents_normalized"]) < LATENT_TOLERANCE
    assert rel_to_max(codec.decode(tensors["latent"]), tensors["decoded"]) < DECODED_TOLERANCE


@pytest.mark.parametrize("name", ["f_dac_released_rates", "f_dac_weight_norm"])
def test_the_audio_vae_gives_the_releases_latents_and_sound(name: str) -> None:
    described, tensors = case(name)
    weights = {key[8:]: value for key, value in tensors.items() if key.startswith("weights.")}
    codec = DacAudioCodec(load_dac(described["config"], weights, FOLDER / described["file"]))
    mean, log_variance = codec.model.posterior(tensors["audio_padded"])
    assert rel_to_max(codec.encode(tensors["audio"]), tensors["posterior_mean"]) < LATENT_TOLERANCE
    assert rel_to_max(mean, tensors["posterior_mean"]) < LATENT_TOLERANCE
    assert rel_to_max(log_variance, tensors["posterior_logvar"]) < LATENT_TOLERANCE
    assert rel_to_max(codec.decode(tensors["latent"]), tensors["decoded"]) < DECODED_TOLERANCE
    assert rel_to_max(codec.decode(mean), tensors["reconstruction_from_mean"]) < DECODED_TOLERANCE


def test_the_given_first_frame_has_the_releases_condition() -> None:
    pytest.importorskip("diffusers", reason="diffusers is not installed (extra release-codecs)")
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra release-codecs)")
    described, tensors = case("g_pipeline_cfg1")
    inputs = described["inputs"]
    codec = load_video_codec(FOLDER / inputs["checkpoint"] / "video_vae")
    # The release stretches the picture to the clip's size.
    picture = image.fromarray(tensors["image_rgb_uint8"].numpy())
    frame = np.array(picture.resize((inputs["width"], inputs["height"]), image.Resampling.LANCZOS))
    latents = codec.encode_first_frame(video_tensor(frame[None, None]), inputs["num_frames"])
    assert rel_to_max(latents, tensors["condition"][:, 4:]) < LATENT_TOLERANCE


@pytest.mark.parametrize(("prompt", "recorded"), [("prompt", "prompt"), ("negative_prompt", "negative")])
def test_prompts_have_the_releases_states(prompt: str, recorded: str) -> None:
    described, tensors = case("g_pipeline_cfg1")
    encoder = load_text_encoder(FOLDER / described["inputs"]["checkpoint"])
    expected = tensors[f"{recorded}_embeds_valid"]
    states, lengths = encoder.encode([described["inputs"][prompt]])
    assert states.shape == (1, 512, expected.shape[2])
    assert lengths.tolist() == [expected.shape[1]]
    assert rel_to_max(states[:, : expected.shape[1]], expected) < LATENT_TOLERANCE
