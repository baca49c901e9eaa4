"""The closed-form audio codec: shapes, quality, and above all time: sound comes out when it went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mova_core.codecs.arrays import audio_tensor
from mova_core.codecs.base import load_audio_codec
from mova_core.codecs.nano_audio import NanoAudioCodec, NanoAudioFitter
from mova_core.codecs.quality import onset_shift_seconds
from mova_core.errors import UserError

RATE, HOP, NUM_SAMPLES = 48000, 960, 66000
# Held-out clips measured 21.5 dB when this was written.
SNR_FLOOR_DB = 19.0


def waveforms(clips: list[Any]) -> torch.Tensor:
    return audio_tensor(np.stack([clip.waveform for clip in clips]))


def test_held_out_clips_come_back(audio_codec: NanoAudioCodec, held_out_clips: list[Any]) -> None:
    sound = waveforms(held_out_clips)
    latents = audio_codec.encode(sound)
    assert latents.shape == (len(held_out_clips), 48, 69)
    decoded = audio_codec.decode(latents)
    assert decoded.shape == (len(held_out_clips), 1, 69 * HOP)
    error = (decoded[..., :NUM_SAMPLES] - sound).square().sum()
    assert 10 * torch.log10(sound.square().sum() / error) > SNR_FLOOR_DB


def test_rates_are_stated_by_the_codec(audio_codec: NanoAudioCodec) -> None:
    assert (audio_codec.sample_rate_hz, audio_codec.hop, audio_codec.latent_rate_hz) == (RATE, HOP, 50.0)


def test_latents_are_about_unit_variance(audio_codec: NanoAudioCodec, held_out_clips: list[Any]) -> None:
    assert 0.6 < audio_codec.encode(waveforms(held_out_clips)).std().item() < 1.5


def test_onsets_of_held_out_clips_stay_within_6_ms(audio_codec: NanoAudioCodec, held_out_clips: list[Any]) -> None:
    decoded = audio_codec.decode(audio_codec.encode(waveforms(held_out_clips)))[:, 0].numpy()
    for clip, sound in zip(held_out_clips, decoded, strict=True):
        shift = onset_shift_seconds(clip.waveform, sound, RATE)
        assert shift is not None
        assert abs(shift) < 0.006


@pytest.mark.parametrize("offset_samples", range(0, HOP, 119))
def test_a_click_stays_where_it_was(offset_samples: int) -> None:
    """With all coefficients kept, so that only framing and transform can move it, at every place within a hop."""
    codec = NanoAudioCodec(sample_rate_hz=RATE, hop=HOP, overlap=HOP, compand_power=0.5, latent_channels=HOP)
    fitter = NanoAudioFitter(codec)
    generator = torch.Generator().manual_seed(0)
    fitter.add(0.1 * torch.randn(1, 100 * HOP, generator=generator))
    codec = fitter.finish()
    click = torch.zeros(1, 1, 20 * HOP)
    place = 7 * HOP + offset_samples
    click[..., place] = 0.9
    decoded = codec.decode(codec.encode(click))[0, 0]
    assert decoded.abs().argmax().item() == place
    assert decoded[place].item() == pytest.approx(0.9, abs=0.01)


def test_a_latent_is_strongest_at_the_time_it_stands_for(audio_codec: NanoAudioCodec) -> None:
    """A burst within samples [j hop, (j + 1) hop) shows in latent j, which begins at j / 50 seconds."""
    seconds = torch.arange(HOP) / RATE
    burst = 0.5 * torch.hann_window(HOP) * torch.sin(2 * torch.pi * 880 * seconds)
    for index in (0, 10, 68):
        sound = torch.zeros(1, 1, 69 * HOP)
        sound[..., index * HOP : (index + 1) * HOP] = burst
        energy = audio_codec.encode(sound)[0].square().sum(0)
        assert energy.argmax().item() == index
        # The window reaches half a hop into both neighbours, and no further.
        assert energy.nonzero().flatten().tolist() == [j for j in (index - 1, index, index + 1) if 0 <= j < 69]


def test_silence_is_the_zero_latent_and_back(audio_codec: NanoAudioCodec) -> None:
    assert audio_codec.encode(torch.zeros(1, 1, NUM_SAMPLES)).abs().max() == 0
    assert audio_codec.decode(torch.zeros(1, 48, 69)).abs().max() == 0


def test_it_survives_the_disk(audio_codec: NanoAudioCodec, held_out_clips: list[Any], tmp_path: Path) -> None:
    audio_codec.save(tmp_path)
    loaded = load_audio_codec(tmp_path)
    assert isinstance(loaded, NanoAudioCodec)
    sound = waveforms(held_out_clips[:2])
    assert torch.equal(loaded.encode(sound), audio_codec.encode(sound))
    assert torch.equal(loaded.decode(loaded.encode(sound)), audio_codec.decode(audio_codec.encode(sound)))


def test_equal_fits_are_equal(audio_codec: NanoAudioCodec, train_clips: list[Any]) -> None:
    fitter = NanoAudioFitter(
        NanoAudioCodec(sample_rate_hz=RATE, hop=HOP, overlap=HOP, compand_power=0.5, latent_channels=48)
    )
    for clip in train_clips:
        fitter.add(audio_tensor(clip.waveform[None])[0])
    again = fitter.finish().state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in audio_codec.state_dict().items())


def test_silent_clips_cannot_be_fitted() -> None:
    fitter = NanoAudioFitter(
        NanoAudioCodec(sample_rate_hz=RATE, hop=HOP, overlap=HOP, compand_power=0.5, latent_channels=8)
    )
    fitter.add(torch.zeros(1, NUM_SAMPLES))
    with pytest.raises(UserError, match="sound"):
        fitter.finish()
