"""The adapters of the released codecs against their recordings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from parity_recordings import (
    FOLDER,
    LATENT_TOLERANCE,
    LOSS_TOLERANCE,
    MEDIA_TOLERANCE,
    Case,
    Tensors,
    assert_agrees,
    assert_close,
    looser,
    weights_of,
)

from mova_core.codecs.dac_audio import DacAudioCodec, load_dac
from mova_core.codecs.wan_video import WanVideoCodec

DAC_INPUTS = ("audio", "audio_padded", "latent")
NOT_OURS = ("_fp64", "_fp32_math")
"""What a name ends in that holds the same numbers in another precision."""


def check_wan_vae(case: Case, tensors: Tensors) -> None:
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan(**case["config"])
    vae.load_state_dict(weights_of(tensors))
    codec = WanVideoCodec(vae)
    found = codec.encode(tensors["video"].float())
    assert_agrees(found, tensors, "latents_normalized", looser(case, LATENT_TOLERANCE))
    assert_agrees(codec.decode(tensors["latent"]), tensors, "decoded", looser(case, MEDIA_TOLERANCE))


@torch.no_grad()
def check_dac_vae(case: Case, tensors: Tensors) -> None:
    """Every recorded tensor but inputs and weights, by its name."""
    codec = DacAudioCodec(load_dac(case["config"], weights_of(tensors), FOLDER / case["file"]))
    assert codec.hop == case["hop_length"]
    audio, latent = tensors["audio"].float(), tensors["latent"].float()
    padded = torch.nn.functional.pad(audio, (0, -audio.shape[-1] % codec.hop))
    assert_close(padded, tensors["audio_padded"], 0.0, "padded sound")
    coded = codec.encode(audio)
    found: dict[str, Callable[[], torch.Tensor]] = {"decoded": lambda: codec.decode(latent)}
    if codec.model.config.continuous:
        mean, log_variance = codec.model.posterior(padded)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        assert_close(coded, mean, LATENT_TOLERANCE, "mean of the unpadded")
        found |= {
            "posterior_mean": lambda: mean,
            "posterior_logvar": lambda: log_variance,
            "posterior_std": lambda: (log_variance / 2).exp(),
            "kl": lambda: divergence.mean(dim=(1, 2)),
            "reconstruction_from_mean": lambda: codec.decode(mean),
        }
    else:
        found |= dict.fromkeys(("z", "z_q", "quantized"), lambda: coded)
        found |= dict.fromkeys(("reconstruction", "reconstruction_from_z"), lambda: codec.decode(coded))
        found |= quantizer_outputs(codec, padded)
    names = {name for name in tensors if name not in DAC_INPUTS and not name.startswith("weights.")}
    names = {name for name in names if not name.endswith(NOT_OURS)}
    assert names <= found.keys(), f"nothing here is what is recorded as {sorted(names - found.keys())}"
    for name in sorted(names):
        if name == "codes":
            assert torch.equal(found[name](), tensors[name]), "other codes are chosen"
        else:
            media = name == "decoded" or name.startswith("reconstruction")
            tolerance = MEDIA_TOLERANCE if media else LOSS_TOLERANCE if name.endswith("loss") else LATENT_TOLERANCE
            assert_agrees(found[name](), tensors, name, looser(case, tolerance))


def quantizer_outputs(codec: DacAudioCodec, padded: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """What the discrete variant's encoder gives beside the code vectors: codes, what was looked up, and the losses."""
    z = codec.model.encoder(padded)
    remainder, sought, losses = z, [], []
    codes = codec.model.quantizer(z)[1]
    for index, quantizer in enumerate(codec.model.quantizer.quantizers):
        sought.append(quantizer.in_proj(remainder))
        chosen = quantizer.codebook(codes[:, index]).transpose(1, 2)
        losses.append((sought[-1] - chosen).square().mean())
        remainder = remainder - quantizer.out_proj(chosen)
    loss = torch.stack(losses).sum()
    return {
        "codes": lambda: codes,
        "latents": lambda: torch.cat(sought, dim=1),
        "commitment_loss": lambda: loss,
        "codebook_loss": lambda: loss,
    }
