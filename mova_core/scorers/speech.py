"""Where there is speech: WebRTC's voice activity detector, and a voice's pitch.

The detector alone takes bells, thuds and motors for speech (measured on the demo corpus: it marks 67 % of a ringing
bell, 53 % of a bouncing ball). What it marks counts here only if enough of it has the pitch of a voice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

FRAME_SECONDS = 0.03
RATES_HZ = (8_000, 16_000, 32_000, 48_000)
# Fundamental frequencies of voices, from deep men's to children's.
PITCH_HZ = (70.0, 350.0)
HIGHEST_PITCH_HZ = 1600.0
PITCH_RATE_HZ = 8_000
PERIODIC = 0.5
# Of all peaks of the autocorrelation this near to the highest, the first is the period; later ones are its multiples.
NEAR_HIGHEST = 0.85


def speech_segments(
    waveform: Waveform,
    sample_rate_hz: int,
    *,
    aggressiveness: int,
    min_speech_seconds: float,
    min_pause_seconds: float,
    min_pitched_share: float,
) -> list[tuple[float, float]]:
    """Start and end, in seconds, of each stretch of speech in a float32 mono waveform, in order.

    Pauses shorter than `min_pause_seconds` are bridged; then stretches go that are shorter than `min_speech_seconds`,
    or of whose 30 ms frames a share under `min_pitched_share` has the pitch of a voice (consonants have none).

    Parameters
    ----------
    sample_rate_hz : 8, 16, 32 or 48 kHz; the detector knows no others.
    aggressiveness : webrtcvad's, 0 (takes most for speech) to 3.

    Raises
    ------
    ValueError : for another rate.
    """
    voiced = voiced_frames(waveform, sample_rate_hz, aggressiveness)
    spans = [(start, end) for start, end in _bridged(_runs(voiced), min_pause_seconds)]
    pitched = pitched_frames(waveform, sample_rate_hz)
    return [
        (start * FRAME_SECONDS, end * FRAME_SECONDS)
        for start, end in spans
        if (end - start) * FRAME_SECONDS >= min_speech_seconds - 1e-9 and pitched[start:end].mean() >= min_pitched_share
    ]


def voiced_frames(waveform: Waveform, sample_rate_hz: int, aggressiveness: int) -> NDArray[np.bool_]:
    """What webrtcvad says of each whole 30 ms frame; see `speech_segments`."""
    import webrtcvad

    if sample_rate_hz not in RATES_HZ:
        raise ValueError(f"the sample rate is {sample_rate_hz} Hz, expected one of {RATES_HZ}")
    detector = webrtcvad.Vad(aggressiveness)
    size = round(FRAME_SECONDS * sample_rate_hz)
    samples = np.rint(np.clip(waveform, -1, 1) * 32767).astype("<i2")
    starts = range(0, samples.size - size + 1, size)
    return np.array([detector.is_speech(samples[i : i + size].tobytes(), sample_rate_hz) for i in starts], np.bool_)


def pitched_frames(waveform: Waveform, sample_rate_hz: int) -> NDArray[np.bool_]:
    """Whether each whole 30 ms frame is periodic with a period within `PITCH_HZ`."""
    step = sample_rate_hz // PITCH_RATE_HZ
    coarse = waveform[: waveform.size // step * step].reshape(-1, step).mean(axis=1)
    size = round(FRAME_SECONDS * PITCH_RATE_HZ)
    count = waveform.size // round(FRAME_SECONDS * sample_rate_hz)
    frames = coarse[: count * size].reshape(count, size)
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(frames, 2 * size, axis=1)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, :size]
    # Fewer products enter at longer lags; undo that, or every period looks too short.
    correlation /= np.maximum(correlation[:, :1], 1e-9) * (1 - np.arange(size) / size)
    lags = np.arange(round(PITCH_RATE_HZ / HIGHEST_PITCH_HZ), round(PITCH_RATE_HZ / PITCH_HZ[0]) + 1)
    values = correlation[:, lags]
    highest = values.max(axis=1)
    inner = values[:, 1:-1]
    is_peak = (inner >= values[:, :-2]) & (inner >= values[:, 2:]) & (inner >= NEAR_HIGHEST * highest[:, None])
    first = lags[1:-1][is_peak.argmax(axis=1)]
    in_range = (first >= PITCH_RATE_HZ / PITCH_HZ[1]) & (first <= PITCH_RATE_HZ / PITCH_HZ[0])
    result: NDArray[np.bool_] = is_peak.any(axis=1) & (highest >= PERIODIC) & in_range
    return result


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _bridged(runs: list[tuple[int, int]], min_pause_seconds: float) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for start, end in runs:
        if result and (start - result[-1][1]) * FRAME_SECONDS < min_pause_seconds - 1e-9:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
