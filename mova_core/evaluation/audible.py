"""When something audibly happens: rises of the sound's envelope, blind to the picture and to the corpus' truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova_core.evaluation.curves import Floats, rises, smoothed

Waveform = npt.NDArray[np.float32]

ENVELOPE_RATE_HZ = 500.0
# Struck sounds begin at once; voiced and humming ones swell, so they are read off a smoother envelope.
SMOOTHING_SECONDS = {"lamp": 0.02, "ball": 0.02, "face": 0.04, "wheel": 0.06}
# An onset reaches this share of the clip's loudest, and this multiple of what was left of the sound before it (9 dB; in
# the corpus at most a fifth is left, 14 dB). Ripples within one sound are smaller.
MIN_SHARE, MIN_RATIO = 0.3, 2.8
MIN_AMPLITUDE = 0.003  # about -50 dB full scale
MIN_GAP_SECONDS = 0.08


def audible_events(waveform: Waveform, label: str, sample_rate_hz: int) -> Floats:
    """Seconds of the onsets in a clip's sound.

    Parameters
    ----------
    waveform : float32 ``[S]``, mono.
    label : the class that the clip was asked to show; it chooses the smoothing and nothing else.

    Raises
    ------
    ValueError : for a class without a detector.
    """
    if label not in SMOOTHING_SECONDS:
        raise ValueError(f"no detector of onsets for class {label!r}; there are {', '.join(SMOOTHING_SECONDS)}")
    curve = envelope(waveform, sample_rate_hz, SMOOTHING_SECONDS[label])
    if curve.max() < MIN_AMPLITUDE:
        return np.zeros(0)
    return rises(
        curve,
        ENVELOPE_RATE_HZ,
        base=0.0,
        min_share=MIN_SHARE,
        min_ratio=MIN_RATIO,
        min_gap_seconds=MIN_GAP_SECONDS,
    )


def envelope(waveform: Waveform, sample_rate_hz: int, smoothing_seconds: float) -> Floats:
    """Amplitude ``[N]`` at `ENVELOPE_RATE_HZ`: root of the mean square over a Hann window of `smoothing_seconds`."""
    hop = sample_rate_hz / ENVELOPE_RATE_HZ
    power = np.concatenate([[0.0], np.cumsum(np.asarray(waveform, dtype=np.float64) ** 2)])
    count = int(len(waveform) / hop)
    edges = np.clip(np.round((np.arange(count + 1) - 0.5) * hop).astype(int), 0, len(waveform))
    mean_power = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    width = 2 * round(smoothing_seconds * ENVELOPE_RATE_HZ / 2) + 1
    level: Floats = np.sqrt(np.maximum(smoothed(mean_power, width), 0.0))
    return level
