"""Settings of `corpus`, `ingest`, `curate` and `caption`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mova_core.config.base import Section

ScoreName = Literal[
    "num_cuts",
    "speech_ratio",
    "silence_ratio",
    "bandwidth_hz",
    "loudness_lufs",
    "clipping_ratio",
    "blur",
    "motion",
    "text_overlay",
    "av_onset_agreement",
    "av_offset_seconds",
]
PhaseName = Literal["audio", "joint1", "joint2", "joint3"]


SceneName = Literal["lamp", "face", "ball", "wheel"]
Span = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class PictureSize(Section):
    """A picture size and how often it is drawn."""

    width: int = Field(ge=48, multiple_of=2)
    height: int = Field(ge=48, multiple_of=2)
    weight: float = Field(gt=0)


class CorpusConfig(Section):
    """The rendered, labelled demo corpus.

    Attributes
    ----------
    minutes : of sound video in all; the spoilt videos come on top.
    video_seconds : a video gets shots until it is at least this long.
    clips_per_shot : fewest and most whole clips (of the length under `media`) that fit into one shot.
    shot_slack_seconds : least and most by which a shot is longer than that.
    close_seconds, pause_seconds : distance from one event to the next, either in a run or across a pause; drawn evenly
        within the span.
    pause_share : share of the distances that are pauses.
    classes : how often each class is drawn for a shot.
    sizes, frame_rates, sample_rates_hz : how often each is drawn for a video.
    noise_floor : root mean square of the noise under every sound; full scale is 1.
    faults : whether the spoilt videos, each with its fault in the label sidecar, are made too.
    """

    minutes: float = Field(gt=0)
    video_seconds: float = Field(gt=0)
    clips_per_shot: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    shot_slack_seconds: Span
    close_seconds: Span
    pause_seconds: Span
    pause_share: float = Field(ge=0, le=1)
    classes: dict[SceneName, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    sizes: tuple[PictureSize, ...] = Field(min_length=1)
    frame_rates: dict[Annotated[float, Field(ge=10, le=120)], Annotated[float, Field(gt=0)]] = Field(min_length=1)
    sample_rates_hz: dict[Annotated[int, Field(ge=16_000)], Annotated[float, Field(gt=0)]] = Field(min_length=1)
    noise_floor: float = Field(gt=0, lt=0.1)
    faults: bool

    @model_validator(mode="after")
    def _spans_ascend(self) -> CorpusConfig:
        for name in ("clips_per_shot", "shot_slack_seconds", "close_seconds", "pause_seconds"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}], expected the smaller number first")
        if self.close_seconds[0] < 0.3:
            raise ValueError(f"close_seconds starts at {self.close_seconds[0]}, expected at least 0.3: events merge")
        if sum(self.classes.values()) <= 0:
            raise ValueError("every class has weight 0, expected one above")
        return self


class ExecutorConfig(Section):
    """Where the work on single files runs.

    Attributes
    ----------
    kind : ``local`` (processes on this machine) or ``ray`` (a Ray cluster; needs the extra `cluster`).
    num_workers : local processes; 0 takes every core.
    ray_address : the cluster's address; empty starts Ray on this machine.
    """

    kind: Literal["local", "ray"]
    num_workers: int = Field(ge=0)
    ray_address: str


class IngestConfig(Section):
    """Which raw files are taken.

    Attributes
    ----------
    ignored_suffixes : files that are no candidates, such as notes beside the videos; lower case with the dot. Hidden
        files and label sidecars are never candidates. Every other file is, and is accounted for.
    tolerated_loss : share of the duration that the header promises which may be missing before a file counts as
        truncated.
    """

    ignored_suffixes: tuple[str, ...]
    tolerated_loss: float = Field(ge=0, lt=1)
    executor: ExecutorConfig

    @field_validator("ignored_suffixes")
    @classmethod
    def _lower_case_with_dot(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in suffixes:
            if not suffix.startswith(".") or suffix != suffix.lower():
                raise ValueError(f"suffix {suffix!r}, expected lower case with the dot, such as '.txt'")
        return suffixes


class Gate(Section):
    """One threshold on one score. A clip outside it is rejected under the name `reason`.

    A score that could not be measured (NaN: no onset to compare, for example) passes.
    """

    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    score: ScoreName
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"gate {self.reason!r} has neither at_least nor at_most")
        return self


class CurateConfig(Section):
    """Cutting, scoring and gating.

    Attributes
    ----------
    black_level : rows and columns at the picture's edge that never get brighter (of 255) are border.
    cut_threshold : least change of a cut, the mean of hue, saturation and brightness, of 255 (PySceneDetect's
        `ContentDetector`).
    min_shot_seconds : cuts closer than this to the one before are not cuts.
    vad_aggressiveness : webrtcvad's, 0 (takes most for speech) to 3.
    min_speech_seconds : shorter voiced stretches are not speech segments.
    min_pause_seconds : shorter pauses do not end a speech segment.
    min_pitched_share : least share of a speech segment that has the pitch of a voice.
    multi_shot_share : share of the windows with cuts inside that is kept, drawn at random.
    val_fraction : share of the time held out for validation, in whole sources, drawn by the hash of their bytes.
    frame_buffer_mib : memory for one source's pictures; a source that needs more is decoded a second time instead.
    gates : what every clip has to pass; the first that it fails names the reason.
    phase_gates : what a clip has to pass besides to be trained on in a phase.
    """

    black_level: int = Field(ge=0, le=255)
    cut_threshold: float = Field(gt=0)
    min_shot_seconds: float = Field(gt=0)
    vad_aggressiveness: int = Field(ge=0, le=3)
    min_speech_seconds: float = Field(gt=0)
    min_pause_seconds: float = Field(ge=0)
    min_pitched_share: float = Field(ge=0, le=1)
    multi_shot_share: float = Field(ge=0, le=1)
    val_fraction: float = Field(ge=0, lt=1)
    frame_buffer_mib: int = Field(ge=0)
    gates: tuple[Gate, ...]
    phase_gates: dict[PhaseName, tuple[Gate, ...]]
    executor: ExecutorConfig

    @model_validator(mode="after")
    def _every_phase_is_there(self) -> CurateConfig:
        missing = {"audio", "joint1", "joint2", "joint3"} - set(self.phase_gates)
        if missing:
            raise ValueError(f"phase_gates lacks {', '.join(sorted(missing))} (an empty list gates nothing)")
        return self


class CaptionConfig(Section):
    """Who writes the captions.

    Attributes
    ----------
    captioner : for clips whose truth is known, ``labels`` takes the caption from it; all others are described by what
        was measured.
    """

    captioner: Literal["labels"]
