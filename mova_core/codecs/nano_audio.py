"""The closed-form audio codec: companded MDCT frames on their principal components, fitted on the training clips.

Time: latent j is the MDCT of samples [j * hop, (j + 1) * hop), with basis functions that reach half an overlap into
both neighbours alike. Sound comes out where it went in (no delay), and latent j starts at j / latent_rate_hz seconds,
which is the position that aligned rotary embeddings give it; the released audio VAE frames its sound in the same way.

A coefficient c is stored as sign(c) |c|^power, which keeps faint partials beside loud ones. The principal components
are not centred: silence is the zero latent, and noise around zero decodes to something fainter still.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mova_core.codecs.base import CONFIG_FILE, read_component_config
from mova_core.codecs.mdct import inverse_mdct, mdct
from mova_core.codecs.pca import LinearCode, Moments
from mova_core.data.weights import WEIGHTS_FILE, fill, mapped_weights
from mova_core.files import write_bytes, write_text


class NanoAudioCodec(nn.Module):
    """See `mova_core.codecs.base.AudioCodec`.

    overlap : samples of cross-fade between hops, 0 to `hop`. compand_power : 0 to 1, 1 stores coefficients as they are.
    """

    def __init__(
        self, *, sample_rate_hz: int, hop: int, overlap: int, compand_power: float, latent_channels: int
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.hop = hop
        self.overlap = overlap
        self.compand_power = compand_power
        self.latent_channels = latent_channels
        self.spectrum = LinearCode(hop, latent_channels)

    @property
    def latent_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """[B, 1, S] -> [B, C, ceil(S / hop)]."""
        return self.spectrum.encode(self.companded(waveform)).squeeze(1).movedim(-1, 1).contiguous()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, L] -> [B, 1, L * hop], clamped to [-1, 1]."""
        companded = self.spectrum.decode(latents.movedim(1, -1))
        coefficients = companded.sign() * companded.abs() ** (1 / self.compand_power)
        return inverse_mdct(coefficients, self.overlap).unsqueeze(1).clamp(-1, 1)

    def save(self, folder: Path) -> None:
        """Writes config.json and the weights."""
        config = {
            "_class_name": "NanoAudioCodec",
            "sample_rate_hz": self.sample_rate_hz,
            "hop": self.hop,
            "overlap": self.overlap,
            "compand_power": self.compand_power,
            "latent_channels": self.latent_channels,
        }
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(folder / WEIGHTS_FILE, save(weights))
        write_text(folder / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        config = {name: value for name, value in read_component_config(folder).items() if not name.startswith("_")}
        codec = cls(**config)
        fill(codec, mapped_weights(folder), folder)
        return codec

    def companded(self, waveform: Tensor) -> Tensor:
        """[B, 1, S] -> companded coefficients [B, 1, L, hop]."""
        missing = -waveform.shape[-1] % self.hop
        coefficients = mdct(nn.functional.pad(waveform, (0, missing)), self.hop, self.overlap)
        return coefficients.sign() * coefficients.abs() ** self.compand_power


class NanoAudioFitter:
    """Fits `codec`, fresh from its constructor, to waveforms given one by one."""

    def __init__(self, codec: NanoAudioCodec) -> None:
        self._codec = codec
        self._moments = Moments(codec.hop)

    def add(self, waveform: Tensor) -> None:
        """Takes a waveform [1, S] in [-1, 1] into account."""
        self._moments.add(self._codec.companded(waveform[None]).flatten(0, -2))

    def finish(self) -> NanoAudioCodec:
        """The codec.

        Raises
        ------
        UserError : if the waveforms are all silent.
        """
        channels = self._codec.latent_channels
        self._codec.spectrum = LinearCode.fit(self._moments, channels, centred=False, what="sound")
        return self._codec
