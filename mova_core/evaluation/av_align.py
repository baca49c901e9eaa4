"""AV-Align: intersection over union of sound onsets and optical-flow peaks (Yariv et al. 2023, arXiv 2309.16429, 3.2).

A measure that knows nothing of classes, kept to the published conventions so that its figures compare: Farneback flow
on grey frames, strict local maxima of its mean magnitude, onsets by spectral flux over 128 mel bands at 44.1 kHz, and
a greedy match within one frame.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ANALYSIS_RATE_HZ = 44_100
FFT_SIZE = 2048
HOP_SAMPLES = 512
NUM_MELS = 128
FLOOR_POWER = 1e-10
DYNAMIC_RANGE_DB = 80.0
MIN_FLOW_PIXELS = 0.1
# Peak picking of the onset envelope: reach of the local maximum and of the local mean, rest, and height above the mean.
REACH_SECONDS, MEAN_SECONDS, REST_SECONDS, HEIGHT = 0.03, 0.10, 0.03, 0.07


def av_align(
    frames: npt.NDArray[np.uint8], waveform: npt.NDArray[np.float32], fps: float, sample_rate_hz: int
) -> float:
    """The score of one clip in 0..1.

    Parameters
    ----------
    frames : uint8 ``[T, H, W, 3]``, RGB.
    waveform : float32 ``[S]``, mono.
    """
    return match_score(onset_times(waveform, sample_rate_hz), flow_peak_times(frames, fps), fps)


def match_score(onsets: Sequence[float] | Floats, peaks: Sequence[float] | Floats, fps: float) -> float:
    """Matches / (onsets + peaks - matches): each onset in time order takes the first free peak nearer than a frame.

    Zero where there is neither an onset nor a peak.
    """
    free = list(peaks)
    matches = 0
    for onset in onsets:
        partner = next((peak for peak in free if abs(onset - peak) < 1.0 / fps), None)
        if partner is not None:
            free.remove(partner)
            matches += 1
    union = len(onsets) + len(peaks) - matches
    return matches / union if union else 0.0


def flow_peak_times(frames: npt.NDArray[np.uint8], fps: float) -> Floats:
    """Seconds of the strict local maxima of the mean flow magnitude, ends excluded."""
    magnitude = flow_magnitude(frames)
    inner = magnitude[1:-1]
    is_peak = (inner > magnitude[:-2]) & (inner > magnitude[2:]) & (inner >= MIN_FLOW_PIXELS)
    times: Floats = (np.flatnonzero(is_peak) + 1) / fps
    return times


def flow_magnitude(frames: npt.NDArray[np.uint8]) -> Floats:
    """Mean optical-flow length in pixels from each frame's predecessor; the first value stands for frame 0 too."""
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    lengths = []
    for before, after in itertools.pairwise(grey):
        blank = np.zeros((*before.shape, 2), dtype=np.float32)
        flow = cv2.calcOpticalFlowFarneback(before, after, blank, 0.5, 3, 15, 3, 5, 1.2, 0)
        lengths.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()))
    return np.array(lengths[:1] + lengths, dtype=np.float64)


def onset_times(waveform: npt.NDArray[np.float32], sample_rate_hz: int) -> Floats:
    """Seconds of the onsets of a mono waveform."""
    from scipy.signal import resample_poly

    common = int(np.gcd(ANALYSIS_RATE_HZ, sample_rate_hz))
    samples = np.asarray(waveform, dtype=np.float64)
    if sample_rate_hz != ANALYSIS_RATE_HZ:
        samples = resample_poly(samples, ANALYSIS_RATE_HZ // common, sample_rate_hz // common)
    strength = onset_strength(samples)
    times: Floats = _picked(strength) * HOP_SAMPLES / ANALYSIS_RATE_HZ
    return times


def onset_strength(samples: Floats) -> Floats:
    """Spectral flux of a waveform at `ANALYSIS_RATE_HZ`: mean rise in dB over mel bands, one value a hop.

    Frames are centred on zero-padded samples; the values are shifted by half a window, so a value's index is the hop
    whose window is centred there.
    """
    padded = np.pad(samples, FFT_SIZE // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[::HOP_SAMPLES]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)
    power = np.abs(np.fft.rfft(windows * hann, axis=1)) ** 2
    decibels = 10.0 * np.log10(np.maximum(power @ mel_filters().T, FLOOR_POWER))
    decibels = np.maximum(decibels, decibels.max() - DYNAMIC_RANGE_DB)
    rise = np.maximum(np.diff(decibels, axis=0), 0.0).mean(axis=1)
    lead = 1 + FFT_SIZE // (2 * HOP_SAMPLES)
    strength: Floats = np.pad(rise, (lead, 0))[: len(decibels)]
    return strength


@functools.cache
def mel_filters() -> Floats:
    """Triangular filters ``[NUM_MELS, FFT_SIZE/2 + 1]`` on Slaney's mel scale, each of unit area in Hz."""
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(ANALYSIS_RATE_HZ / 2), NUM_MELS + 2))
    bins = np.linspace(0.0, ANALYSIS_RATE_HZ / 2, FFT_SIZE // 2 + 1)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Floats = triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters


# Slaney's scale: 3 mels per 200 Hz up to 1 kHz (mel 15), then 27 mels per factor of 6.4.
def _hz_to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))


def _mel_to_hz(mels: Floats) -> Floats:
    hertz: Floats = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    return hertz


def _picked(strength: Floats) -> npt.NDArray[np.int64]:
    """Indices of the envelope's peaks: highest of their surroundings, above the local mean, not too close together."""
    if not np.any(strength):
        return np.zeros(0, dtype=np.int64)
    level = strength - strength.min()
    level = level / level.max()
    rate = ANALYSIS_RATE_HZ / HOP_SAMPLES
    reach, spread, rest = int(REACH_SECONDS * rate), int(MEAN_SECONDS * rate), int(REST_SECONDS * rate)
    picked: list[int] = []
    for index, value in enumerate(level):
        if picked and index - picked[-1] <= rest:
            continue
        if value < level[max(0, index - reach) : index + 1].max():
            continue
        if value >= level[max(0, index - spread) : index + spread + 1].mean() + HEIGHT:
            picked.append(index)
    return np.array(picked, dtype=np.int64)
