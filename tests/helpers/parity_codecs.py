"""The adapters of the released codecs against their recordings."""

from __future__ import annotations

import torch
from parity_recordings import (
    FOLDER,
    LATENT_TOLERANCE,
    MEDIA_TOLERANCE,
    Case,
    Tensors,
    assert_close,
    weights_of,
)

from mova_core.codecs.dac_audio import DacAudioCodec, load_dac
from mova_core.codecs.wan_video import WanVideoCodec


def check_wan_vae(case: Case, tensors: Tensors) -> None:
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan(**case["config"])
    vae.load_state_dict(weights_of(tensors))
    codec = WanVideoCodec(vae)
    assert_close(codec.encode(tensors["video"]), tensors["latents_normalized"], LATENT_TOLERANCE, "latents")
    assert_close(codec.decode(tensors["latent"]), tensors["decoded"], MEDIA_TOLERANCE, "decoded")


@torch.no_grad()
def check_dac_vae(case: Case, tensors: Tensors) -> None:
    codec = DacAudioCodec(load_dac(case["config"], weights_of(tensors), FOLDER / case["file"]))
    assert codec.hop == case["hop_length"]
    mean, log_variance = codec.model.posterior(tensors["audio_padded"])
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    assert_close(codec.encode(tensors["audio"]), tensors["posterior_mean"], LATENT_TOLERANCE, "mean of the unpadded")
    assert_close(mean, tensors["posterior_mean"], LATENT_TOLERANCE, "mean")
    assert_close(log_variance, tensors["posterior_logvar"], LATENT_TOLERANCE, "log-variance")
    assert_close((log_variance / 2).exp(), tensors["posterior_std"], LATENT_TOLERANCE, "deviation")
    assert_close(divergence.mean(dim=(1, 2)), tensors["kl"], LATENT_TOLERANCE, "divergence")
    assert_close(codec.decode(tensors["latent"]), tensors["decoded"], MEDIA_TOLERANCE, "decoded")
    assert_close(codec.decode(mean), tensors["reconstruction_from_mean"], MEDIA_TOLERANCE, "reconstruction")
