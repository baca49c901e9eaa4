"""What the evaluation found, as plain values: measured in one place, then written as metrics and as a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mova_core.evaluation.sync import SyncResult

SetKind = Literal["trained", "bridge_off", "codec", "real"]
Modality = Literal["video", "audio"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over clips."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class SetResult:
    """One set of clips.

    Attributes
    ----------
    name : the sample set's name; ``codec_64x64`` or ``real`` for real clips.
    kind : generated with the Bridge, generated without it, real clips through the codecs, real clips as they are.
    phase : whose checkpoint generated the set; empty for real clips.
    height, width : of the pictures, in pixels.
    num_left_out : clips that show no class with a detector, or several; they count in no figure of `sync`.
    sync : events and offsets.
    av_align : AV-Align, 0..1.
    loudness_lufs : integrated loudness.
    """

    name: str
    kind: SetKind
    phase: str
    height: int
    width: int
    num_clips: int
    num_left_out: int
    sync: SyncResult
    av_align: Spread
    loudness_lufs: Spread


@dataclass(frozen=True)
class DetectorError:
    """How a detector does on real clips whose truth is known.

    Attributes
    ----------
    num_true, num_found : events that the truth states, and that the detector reports, over the same clips.
    within_one_frame : share of true events with a detected one at most a frame away.
    median_seconds : of detected minus true, with its sign, over true events that have a detected one.
    median_abs_seconds : the same without the sign.
    """

    label: str
    modality: Modality
    num_true: int
    num_found: int
    within_one_frame: float
    median_seconds: float
    median_abs_seconds: float


@dataclass(frozen=True)
class CodecQuality:
    """What the codecs keep of real clips, in dB; errors are pooled over clips before the logarithm."""

    height: int
    width: int
    video_psnr_db: float
    audio_snr_db: float


@dataclass(frozen=True)
class Loss:
    """Mean squared velocity error of each modality."""

    video: float
    audio: float


@dataclass(frozen=True)
class PhaseLoss:
    """Held-out loss of one checkpoint.

    Attributes
    ----------
    bridge_on, bridge_off : with and without cross-modal injection, over the same clips, noise and noise levels.
    gain, gain_error : loss without minus loss with the Bridge, and its standard error over clips.
    """

    phase: str
    height: int
    width: int
    num_clips: int
    num_draws: int
    bridge_on: Loss
    bridge_off: Loss
    gain: Loss
    gain_error: Loss


@dataclass(frozen=True)
class Curve:
    """A figure of training against its step."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class History:
    """Training curves of a phase by name: `video_loss`, `audio_loss`, and `validation_...` of them."""

    phase: str
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured."""

    fps: float
    sets: tuple[SetResult, ...]
    detectors: tuple[DetectorError, ...]
    codecs: tuple[CodecQuality, ...]
    losses: tuple[PhaseLoss, ...]
    history: tuple[History, ...]

    def of_kind(self, kind: SetKind, phase: str | None = None) -> tuple[SetResult, ...]:
        """The sets of that kind, of that phase unless it is None."""
        return tuple(entry for entry in self.sets if entry.kind == kind and (phase is None or entry.phase == phase))

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases with a generated set, in the order of the sets."""
        return tuple(dict.fromkeys(entry.phase for entry in self.sets if entry.phase))

    def ceiling(self, phase: str) -> SetResult | None:
        """Real clips through the codecs at the resolution of that phase's sets; None where there are none."""
        sizes = {(entry.height, entry.width) for entry in self.sets if entry.phase == phase}
        return next((entry for entry in self.of_kind("codec") if (entry.height, entry.width) in sizes), None)
