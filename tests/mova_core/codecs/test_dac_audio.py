"""The released audio codec, with random weights: tiles, options, variants. Recorded numbers are in tests/parity."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mova_core.codecs.base import load_audio_codec
from mova_core.codecs.dac_audio import DacAudioCodec, dac_config, load_dac, weight_norm_shapes
from mova_core.codecs.dac_layers import Dac, Snake
from mova_core.data.weights import WEIGHTS_FILE
from mova_core.errors import UserError

ENTRIES: dict[str, Any] = {
    "_class_name": "DAC",
    "encoder_dim": 2,
    "encoder_rates": [2, 3],
    "latent_dim": 4,
    "decoder_dim": 16,
    "decoder_rates": [3, 2],
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 2,
    "quantizer_dropout": False,
    "sample_rate": 600,
    "continuous": True,
    "use_weight_norm": False,
}
HOP = 6
TOLERANCE = 2e-7  # one rounding to float32 of values near 1 that were computed in float64

Make = Callable[..., Dac]


@pytest.fixture
def make() -> Make:
    def made(**changes: object) -> Dac:
        torch.manual_seed(0)
        model = Dac(dac_config(ENTRIES | changes))
        for module in model.modules():
            if isinstance(module, Snake):
                torch.nn.init.uniform_(module.alpha, 0.5, 2)
            elif isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
                # Not so large that the last tanh saturates, not so small that far places do not matter.
                torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        return model.requires_grad_(False)

    return made


def store(folder: Path, entries: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / "config.json").write_text(json.dumps(entries))
    return folder


def sound(batch: int, num_samples: int) -> torch.Tensor:
    return torch.rand(batch, 1, num_samples, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_latents_are_the_posteriors_mean_and_the_end_is_padded_with_silence(make: Make) -> None:
    codec = DacAudioCodec(make())
    assert (codec.sample_rate_hz, codec.hop, codec.latent_channels, codec.latent_rate_hz) == (600, HOP, 4, 100.0)
    waveform = sound(2, 10 * HOP - 2)
    padded = torch.nn.functional.pad(waveform, (0, 2))
    latents = codec.encode(waveform)
    assert latents.shape == (2, 4, 10)
    torch.testing.assert_close(latents, codec.model.posterior(padded)[0])
    decoded = codec.decode(latents)
    assert decoded.shape == (2, 1, 10 * HOP)
    assert decoded.abs().max() <= 1


@pytest.mark.parametrize("tile", [1, 7, 16, 39, 40])
def test_a_long_clip_in_tiles_is_the_clip_in_one_piece(make: Make, tile: int) -> None:
    model = make().double()
    whole, tiled = DacAudioCodec(model, tile_latents=10_000), DacAudioCodec(model, tile_latents=tile)
    waveform, latents = sound(1, 40 * HOP), torch.randn(2, 4, 40, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(tiled.encode(waveform), whole.encode(waveform), rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(tiled.decode(latents), whole.decode(latents), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("direction", ["_encoder_reach", "_decoder_reach"])
def test_tiles_overlap_by_no_more_than_they_need(make: Make, direction: str) -> None:
    model = make().double()
    codec, whole = DacAudioCodec(model, tile_latents=8), DacAudioCodec(model, tile_latents=10_000)
    setattr(codec, direction, getattr(codec, direction) - 1)
    waveform, latents = sound(1, 60 * HOP), torch.randn(1, 4, 60, generator=torch.Generator().manual_seed(2))
    found, expected = (
        (codec.encode(waveform), whole.encode(waveform))
        if direction == "_encoder_reach"
        else (codec.decode(latents), whole.decode(latents))
    )
    assert (found - expected).abs().max() > 10 * TOLERANCE


def test_no_pass_is_longer_than_a_tile_and_what_it_reaches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = DacAudioCodec(make(), tile_latents=10)
    lengths: list[int] = []
    decode = codec.model.decode
    monkeypatch.setattr(codec.model, "decode", lambda z: (lengths.append(z.shape[-1]), decode(z))[1])
    codec.decode(torch.zeros(1, 4, 100))
    assert max(lengths) <= 10 + 2 * codec._decoder_reach


def test_what_is_saved_comes_back(make: Make, tmp_path: Path) -> None:
    codec = DacAudioCodec(make())
    codec.save(tmp_path)
    loaded = load_audio_codec(tmp_path)
    assert isinstance(loaded, DacAudioCodec)
    assert loaded.model.config == codec.model.config
    assert torch.equal(loaded.encode(sound(1, 60)), codec.encode(sound(1, 60)))


def test_bfloat16_weights_compute_in_float32(make: Make, tmp_path: Path) -> None:
    weights = {name: value.bfloat16() for name, value in make().state_dict().items()}
    codec = load_audio_codec(store(tmp_path, ENTRIES, weights))
    assert isinstance(codec, DacAudioCodec)
    assert {value.dtype for value in codec.model.state_dict().values()} == {torch.float32}
    assert codec.encode(sound(1, 60).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("continuous", [True, False])
def test_weight_norm_is_folded_in(make: Make, tmp_path: Path, continuous: bool) -> None:
    """A stored direction of any length stands for the same weight, whose norm over all axes but the first is g."""
    model = make(continuous=continuous)
    plain = model.state_dict()
    stored = {}
    for name, shape in weight_norm_shapes(model).items():
        if name.endswith("_g"):
            stored[name] = plain[name[:-2]].norm(dim=(1, 2), keepdim=True)
        elif name.endswith("_v"):
            stored[name] = plain[name[:-2]] * 3
        else:
            stored[name] = plain[name]
        assert stored[name].shape == shape
    assert ("quant_conv.weight" in stored) == continuous
    entries = ENTRIES | {"use_weight_norm": True, "continuous": continuous}
    codec = load_audio_codec(store(tmp_path / "a", entries, stored))
    torch.testing.assert_close(codec.encode(sound(1, 60)), DacAudioCodec(model).encode(sound(1, 60)))
    codec.save(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["use_weight_norm"] is False
    assert load_file(tmp_path / "b" / WEIGHTS_FILE).keys() == plain.keys()
    later = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in stored.items()
    }
    assert "decoder.model.0.parametrizations.weight.original1" in later
    spelt_anew = load_dac(entries, later, tmp_path)
    assert torch.equal(spelt_anew.encode(sound(1, 60)), codec.model.encode(sound(1, 60)))
    del stored["encoder.block.0.weight_g"]
    with pytest.raises(UserError, match=r"1 missing: encoder\.block\.0\.weight_g"):
        load_audio_codec(store(tmp_path / "c", entries, stored))
    with pytest.raises(UserError, match=r"unknown: .*decoder\.model\.0\.weight_v"):
        load_audio_codec(store(tmp_path / "d", entries | {"use_weight_norm": False}, stored))


def test_the_discrete_variant_gives_sums_of_code_vectors(make: Make) -> None:
    model = make(continuous=False)
    codec = DacAudioCodec(model)
    z = model.encoder(sound(1, 10 * HOP))
    latents = codec.encode(sound(1, 10 * HOP))
    remainder = z
    for index, quantizer in enumerate(model.quantizer.quantizers):
        queries = torch.nn.functional.normalize(quantizer.in_proj(remainder), dim=1)
        book = torch.nn.functional.normalize(quantizer.codebook.weight, dim=1)
        nearest = torch.cdist(queries.transpose(1, 2), book[None]).argmin(-1)
        assert torch.equal(model.quantizer(z)[1][:, index], nearest)
        remainder = remainder - quantizer.out_proj(quantizer.codebook.weight[nearest].transpose(1, 2))
    torch.testing.assert_close(latents, z - remainder)
    assert codec.decode(latents).shape == (1, 1, 10 * HOP)
    with pytest.raises(UserError, match=r"missing: post_quant_conv\.bias"):
        load_dac(ENTRIES, model.state_dict(), Path("audio_vae"))


def test_codebooks_may_differ_in_width(make: Make) -> None:
    model = make(continuous=False, codebook_dim=[2, 3, 4])
    assert [quantizer.codebook.weight.shape[1] for quantizer in model.quantizer.quantizers] == [2, 3, 4]


def test_a_latent_width_that_is_not_given_follows_the_encoder() -> None:
    assert dac_config(ENTRIES | {"latent_dim": None}).latent_dim == 8


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"decoder_rates": [3, 3]}, r"encodes by \(2, 3\) and decodes by \(3, 3\)"),
        ({"encoder_rates": [2, 0]}, r"has encoder_rates \(2, 0\)"),
        ({"latent_dim": "8"}, "has latent_dim '8'"),
        ({"sample_rate": -1}, "has sample_rate -1"),
        ({"continuous": "yes"}, "has continuous 'yes'"),
        ({"use_weight_norm": None}, "has use_weight_norm None"),
        ({"decoder_dim": 10}, "halves decoder_dim 10 2 times"),
        ({"codebook_dim": [2, 2]}, "has 2 codebook_dim for 3 codebooks"),
    ],
)
def test_impossible_options_are_refused_by_name(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found):
        dac_config(ENTRIES | changes)


def test_missing_options_are_named() -> None:
    with pytest.raises(UserError, match="lacks continuous sample_rate"):
        dac_config({name: value for name, value in ENTRIES.items() if name not in ("sample_rate", "continuous")})


def test_options_without_effect_may_be_missing_or_new(make: Make) -> None:
    optional = ("_class_name", "latent_dim", "codebook_size", "quantizer_dropout", "use_weight_norm")
    entries = {name: value for name, value in ENTRIES.items() if name not in optional} | {"version": 2}
    model = make(latent_dim=None)
    loaded = load_dac(entries, model.state_dict(), Path("audio_vae"))
    assert torch.equal(loaded.encode(sound(1, 60)), model.encode(sound(1, 60)))
