"""The scores of one window, named as `records.Clip` and the gates name them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mova_core.curation.segment import Window
from mova_core.curation.survey import Survey, covered_share
from mova_core.scorers.onsets import onset_agreement
from mova_core.scorers.picture import blur, luma, motion
from mova_core.scorers.sound import bandwidth_hz, clipping_ratio, loudness_lufs, silence_ratio

# Blur changes slowly, and costs more than the other scores of a picture.
FRAMES_BETWEEN_BLUR_LOOKS = 4


@dataclass(frozen=True)
class Scores:
    """The scores of one window; each is defined where it is computed, in `mova_core.scorers`."""

    speech_ratio: float
    silence_ratio: float
    bandwidth_hz: float
    loudness_lufs: float
    clipping_ratio: float
    blur: float
    motion: float
    av_onset_agreement: float
    text_overlay: float
    av_offset_seconds: float


def score_window(found: Survey, window: Window, frames: NDArray[np.uint8], waveform: NDArray[np.float32]) -> Scores:
    """Scores a window from its canonical frames ``[T, H, W, 3]`` and waveform ``[S]``; padding is left out."""
    rate, fps = found.media.sample_rate_hz, found.media.fps
    start, end = window.start_seconds, window.start_seconds + found.media.clip_seconds
    brightness = luma(found.fit.inner(frames))
    cut_frames = [min(round((cut - start) * fps), len(frames) - 1) for cut in found.timeline.cuts if start < cut < end]
    return Scores(
        speech_ratio=covered_share(found.timeline.speech, start, end),
        silence_ratio=silence_ratio(waveform, rate),
        bandwidth_hz=bandwidth_hz(waveform, rate),
        loudness_lufs=loudness_lufs(waveform, rate),
        clipping_ratio=clipping_ratio(waveform),
        blur=blur(brightness[::FRAMES_BETWEEN_BLUR_LOOKS]),
        motion=motion(brightness),
        av_onset_agreement=onset_agreement(brightness, fps, waveform, rate, cut_frames),
        text_overlay=found.text_overlay,
        av_offset_seconds=found.av_offset_seconds,
    )
