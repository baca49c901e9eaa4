"""The rows that steps hand to each other. Every record is one Parquet row; see `mova_core.data.manifest`.

Times are seconds on the source's or the clip's own clock, as each field says. Ids derive from content, so the same
video under the same configuration has the same id on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """A raw video that decodes and has sound. Written by `ingest`."""

    source_id: str
    collection: str
    path: str  # relative to the collection's folder
    sha256: str
    size_bytes: int
    duration_seconds: float
    width: int  # after the rotation has been applied
    height: int
    rotation_degrees: int
    fps: float  # mean rate
    is_variable_frame_rate: bool
    num_frames: int
    video_codec: str
    audio_codec: str
    sample_rate_hz: int
    num_audio_channels: int


@dataclass(frozen=True)
class Reject:
    """A row that a step did not pass on, and why."""

    item_id: str  # the source's or the clip's id; for a file that cannot be read, an id of its path
    collection: str
    path: str
    reason: str  # a short fixed name, such as "no_audio"
    detail: str  # what was measured against what


@dataclass(frozen=True)
class Event:
    """A visible event and its sound, as the corpus' truth states them, on the clip's clock."""

    kind: str  # lamp, face, ball, wheel
    video_seconds: float
    audio_seconds: float


@dataclass(frozen=True)
class Clip:
    """A fixed-length training clip with its scores. Written by `curate`."""

    clip_id: str
    source_id: str
    collection: str
    split: str  # "train" or "val"; every clip of one source is on one side
    path: str  # relative to the collection's clips folder
    start_seconds: float  # on the source's clock
    duration_seconds: float
    num_frames: int
    fps: float
    width: int
    height: int
    sample_rate_hz: int
    kind: str  # {single,multi}_{speech,sound}: shots x speech
    num_cuts: int
    speech_ratio: float
    silence_ratio: float
    bandwidth_hz: float
    loudness_lufs: float
    clipping_ratio: float
    blur: float
    motion: float
    av_onset_agreement: float  # NaN where picture or sound has no onset
    label: str = ""  # the corpus' class, empty where unknown
    truth_json: str = ""  # the corpus' truth projected onto the clip (see curation.truth), empty where unknown
    phases: list[str] = field(default_factory=list)  # the training phases whose gates the clip passes
    text_overlay: float = math.nan  # lettering that stays across the source's cuts; NaN where there is no cut
    av_offset_seconds: float = math.nan  # how much later the source's sound is; NaN where its onsets do not relate


@dataclass(frozen=True)
class Caption:
    """What a clip shows and sounds like. A part that is not there is empty."""

    clip_id: str
    collection: str
    visual: str
    speech: str
    sound: str
    music: str
    merged: str  # the prompt used for training: visuals first, then quoted speech, then other sound
    captioner: str  # who said so: "labels", or a model's name and revision


@dataclass(frozen=True)
class LatentRow:
    """Where a clip's cached latents lie. Written by `encode`; see `mova_core.data.shards`."""

    clip_id: str
    collection: str
    split: str
    label: str
    caption: str
    shard: str  # file name under latents/shards
    row: int  # index along the first axis of every tensor of that shard
    text_row: int  # index into the table of text embeddings
    phases: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """A generated clip. Written by `sample`."""

    sample_id: str
    set_name: str
    clip_id: str  # the held-out clip whose prompt and first frame were given
    path: str  # relative to the set's folder
    prompt: str
    label: str
    seed: int
    num_steps: int
    text_guidance: float
    bridge_guidance: float
    checkpoint: str
    solver: str = "euler"  # of a manifest that names none: when it was written all steps were Euler's
