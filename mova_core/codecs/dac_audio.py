"""The released audio VAE (DAC, continuous, 48 kHz in hops of 960) behind the protocol of `mova_core.codecs.base`.

Long sound passes in tiles of some seconds that overlap by exactly what the convolutions reach, so memory stays bounded
and the result is the one of a single pass.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mova_core.codecs.base import CONFIG_FILE, read_component_config
from mova_core.codecs.dac_layers import Dac, DacConfig, reach_in_latents
from mova_core.data.weights import WEIGHTS_FILE, check_fit, fill, mapped_weights, shapes_of
from mova_core.errors import UserError
from mova_core.files import write_bytes, write_text

CLASS_NAME = "DAC"
TILE_SECONDS = 4.0
TRAINING_ONLY_KEYS = {"quantizer_dropout"}
WEIGHT_NORM = "use_weight_norm"
LATENT_DIM = "latent_dim"
LATER_SPELLING = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
"""Length and direction of a normalised weight: as `torch.nn.utils.parametrizations` names them, and as the release."""


class DacAudioCodec:
    """See `mova_core.codecs.base.AudioCodec`. Latents are the posterior's mean, as it is, or summed code vectors.

    model : the codec's network. tile_latents : latents that pass at once; None stands for `TILE_SECONDS`.
    """

    def __init__(self, model: Dac, tile_latents: int | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.sample_rate_hz = model.config.sample_rate
        self.hop = model.config.hop
        self.latent_channels = model.config.latent_dim
        self.tile_latents = tile_latents or max(1, round(TILE_SECONDS * self.latent_rate_hz))
        self._encoder_reach = reach_in_latents(model.encoder, self.hop)
        self._decoder_reach = reach_in_latents(model.decoder, self.hop)

    @property
    def latent_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """[B, 1, S] in [-1, 1] -> float32 [B, C, ceil(S / hop)]; the end is padded with silence."""
        whole = nn.functional.pad(waveform, (0, -waveform.shape[-1] % self.hop))
        return self._in_tiles(self.model.encode, whole, self._encoder_reach, self.hop, 1)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, L] -> float32 [B, 1, L * hop] in [-1, 1], untrimmed."""
        return self._in_tiles(self.model.decode, latents, self._decoder_reach, 1, self.hop)

    def save(self, folder: Path) -> None:
        """Writes config.json and the weights, any weight norm folded in."""
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        entries = {
            "_class_name": CLASS_NAME,
            **dataclasses.asdict(self.model.config),
            **dict.fromkeys([*TRAINING_ONLY_KEYS, WEIGHT_NORM], False),
        }
        write_bytes(folder / WEIGHTS_FILE, save(weights))
        write_text(folder / CONFIG_FILE, json.dumps(entries, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads an audio_vae folder; the codec computes in float32, whatever is stored.

        Raises
        ------
        UserError : if an option of config.json is missing or impossible, or the weights do not fit it.
        """
        return cls(load_dac(read_component_config(folder), mapped_weights(folder), folder))

    def to(self, device: torch.device) -> Self:
        self.model.to(device)
        return self

    def _in_tiles(
        self, function: Callable[[Tensor], Tensor], x: Tensor, reach: int, step_in: int, step_out: int
    ) -> Tensor:
        """`function` of x, tile by tile; a latent is `step_in` places of x and `step_out` of the result."""
        parameter = next(self.model.parameters())
        count = x.shape[-1] // step_in
        parts = []
        for start in range(0, count, self.tile_latents):
            stop = min(start + self.tile_latents, count)
            left, right = max(0, start - reach), min(count, stop + reach)
            tile = x[..., left * step_in : right * step_in].to(parameter)
            parts.append(function(tile)[..., (start - left) * step_out : (stop - left) * step_out].float())
        return torch.cat(parts, dim=-1)


def load_dac(entries: Mapping[str, Any], weights: Mapping[str, Tensor], source: Path) -> Dac:
    """The network of a config.json's entries with the weights stored beside it. Raises as `DacAudioCodec.load`."""
    config = dac_config(entries)
    with torch.device("meta"):
        model = Dac(config)
    if entries.get(WEIGHT_NORM, False):
        weights = {_first_spelling(name): value for name, value in weights.items()}
        check_fit(weights, weight_norm_shapes(model), source)
        weights = folded(weights)
    fill(model, weights, source, dtype=torch.float32)
    return model


def dac_config(entries: Mapping[str, Any]) -> DacConfig:
    """A codec's shape from the entries of its config.json; keys without effect here are passed over, as for the towers.

    What describes the quantizer may be missing, and `latent_dim` and `use_weight_norm`, as in the release's class.

    Raises
    ------
    UserError : if an entry that the shape needs is missing, or one is impossible.
    """
    fields = {field.name: field for field in dataclasses.fields(DacConfig)}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING} - {LATENT_DIM}
    missing = sorted(needed - entries.keys())
    if missing:
        raise _impossible(" ".join(["lacks", *missing]))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in ({LATENT_DIM: None} | dict(entries)).items()
        if name in fields or name == WEIGHT_NORM
    }
    if values[LATENT_DIM] is None:
        values[LATENT_DIM] = values["encoder_dim"] * 2 ** len(values["encoder_rates"])
    for name, value in values.items():
        if name in ("continuous", WEIGHT_NORM):
            if not isinstance(value, bool):
                raise _impossible(f"has {name} {value!r} (true or false)")
        elif not all(
            type(number) is int and number > 0 for number in (value if isinstance(value, tuple) else (value,))
        ):
            raise _impossible(f"has {name} {value!r} (positive whole numbers)")
    config = DacConfig(**{name: value for name, value in values.items() if name in fields})
    if prod(config.decoder_rates) != config.hop:
        raise _impossible(f"encodes by {config.encoder_rates} and decodes by {config.decoder_rates} (equal products)")
    if config.decoder_dim % 2 ** len(config.decoder_rates):
        raise _impossible(
            f"halves decoder_dim {config.decoder_dim} {len(config.decoder_rates)} times (to a whole number)"
        )
    if isinstance(config.codebook_dim, tuple) and len(config.codebook_dim) != config.n_codebooks:
        raise _impossible(f"has {len(config.codebook_dim)} codebook_dim for {config.n_codebooks} codebooks (one each)")
    return config


def weight_norm_shapes(model: Dac) -> dict[str, tuple[int, ...]]:
    """Shapes of what is stored where weight norm is not folded in: two parameters for each normalised weight."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes_of(model).items():
        if name.endswith(".weight") and len(shape) == 3 and not name.startswith(("quant_conv", "post_quant_conv")):
            shapes |= {f"{name}_g": (shape[0], 1, 1), f"{name}_v": shape}
        else:
            shapes[name] = shape
    return shapes


def _first_spelling(name: str) -> str:
    """A weight norm's parameter as PyTorch first named it, from either of its two spellings."""
    for later, first in LATER_SPELLING.items():
        if name.endswith(later):
            return name.removesuffix(later) + first
    return name


def folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with weight norm taken out: g v / |v|, the norm over all axes but the first (Salimans & Kingma 2016)."""
    plain = {name: value for name, value in weights.items() if not name.endswith(("weight_g", "weight_v"))}
    for name in (name for name in weights if name.endswith("weight_v")):
        direction, length = weights[name].float(), weights[f"{name[:-1]}g"].float()
        plain[name[:-2]] = length * direction / direction.norm(dim=(1, 2), keepdim=True)
    return plain


def _impossible(what: str) -> UserError:
    return UserError(
        f"the audio VAE's {CONFIG_FILE} {what}",
        expected="the options of a DAC codec, each possible",
        remedy="fetch the checkpoint's audio_vae folder again",
    )
