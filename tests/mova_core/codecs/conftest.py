"""Clips that flash and ring at a known instant, as arrays, and codecs fitted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mova_core.codecs.arrays import audio_tensor, video_tensor
from mova_core.codecs.nano_audio import NanoAudioCodec, NanoAudioFitter
from mova_core.codecs.nano_video import NanoVideoCodec, NanoVideoFitter
from mova_core.codecs.reading import area_resized

FPS, RATE, NUM_FRAMES, NUM_SAMPLES, SIDE = 24.0, 48000, 33, 66000, 64
BELLS_HZ = (880.0, 1318.5)


@dataclass(frozen=True)
class FlashClip:
    """A disc on a wall that lights up at `event_seconds`, when a bell rings."""

    frames: NDArray[np.uint8]
    waveform: NDArray[np.float32]
    event_seconds: float


def flash_clip(seed: int) -> FlashClip:
    draw = np.random.default_rng(seed)
    event = float(draw.uniform(0.2, 1.1))
    wall, colour = draw.uniform(80, 180, 3), draw.uniform(60, 220, 3)
    x, y = draw.uniform(20, 44, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    disc = 1 / (1 + np.exp(np.hypot(columns - x, rows - y) - draw.uniform(8, 16)))[None, ..., None]
    since = np.arange(NUM_FRAMES) / FPS - event
    light = np.where(since >= 0, np.exp(-since / 0.2), 0)[:, None, None, None]
    pictures = wall * (1 - disc) + disc * (colour + light * (255 - colour))
    seconds = np.arange(NUM_SAMPLES) / RATE - event
    ringing = (seconds >= 0) * np.exp(-np.maximum(seconds, 0) / 0.15)
    bell = 0.5 * ringing * np.sin(2 * np.pi * BELLS_HZ[seed % 2] * seconds)
    hiss = 1e-4 * draw.standard_normal(NUM_SAMPLES)
    return FlashClip(pictures.round().astype(np.uint8), (bell + hiss).astype(np.float32), event)


@pytest.fixture(scope="session")
def train_clips() -> list[FlashClip]:
    return [flash_clip(seed) for seed in range(40)]


@pytest.fixture(scope="session")
def held_out_clips() -> list[FlashClip]:
    return [flash_clip(seed) for seed in range(1000, 1012)]


@pytest.fixture(scope="session")
def video_codec(train_clips: list[FlashClip]) -> NanoVideoCodec:
    return fitted_video_codec(train_clips)


@pytest.fixture(scope="session")
def audio_codec(train_clips: list[FlashClip]) -> NanoAudioCodec:
    return fitted_audio_codec(train_clips)


def fitted_video_codec(clips: list[FlashClip]) -> NanoVideoCodec:
    fitter = NanoVideoFitter(latent_channels=16)
    for clip in clips:
        for side in (32, 64):
            fitter.add(video_tensor(area_resized(clip.frames, (side, side))[None])[0])
    return fitter.finish()


def fitted_audio_codec(clips: list[FlashClip]) -> NanoAudioCodec:
    codec = NanoAudioCodec(sample_rate_hz=RATE, hop=960, overlap=960, compand_power=0.5, latent_channels=48)
    fitter = NanoAudioFitter(codec)
    for clip in clips:
        fitter.add(audio_tensor(clip.waveform[None])[0])
    return fitter.finish()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
