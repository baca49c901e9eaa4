"""Videos that are spoilt on purpose, one fault each, to see that the steps after this one notice.

Some should be rejected (a file that does not decode), some should be mended (borders, a turned picture), some measured
(sound that comes late). The label sidecar of each names its fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mova_core.config.curation import CorpusConfig
from mova_core.curation.corpus.plan import VideoPlan, plan_video
from mova_core.curation.corpus.render import (
    CONSTANT_RATE_FACTOR,
    Cost,
    render_video,
    shot_pictures,
    shot_sound,
    video_truth,
)
from mova_core.data.media import AudioCodec, MediaWriter, exact_rate
from mova_core.data.media.opening import local_url
from mova_core.data.truth import Fault, SourceTruth

NUM_SHOTS = 2
# Their seeds lie apart from those of the ordinary videos.
FIRST_SEED = 1_000_000
LATE_SECONDS, EARLY_SECONDS = 0.250, -0.320
BORDER_SHARE = 0.2  # of the height, above and below each
BLUR_SHARE = 0.06  # of the smaller side, the standard deviation
CLIPPING_GAIN = 12.0
KEPT_BYTES = 0.6
KEPT_FRAMES = 0.7
HOSTILE_STEM = '-rf "it\'s" $(touch x) `y` <b>%20&amp; ünï 動画 {0};'
TEXT = "SUBSCRIBE NOW"
OBLONG = (100, 76)  # of the turned video, whose sides must differ

Frames = NDArray[np.uint8]
Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class SpoiltVideo:
    """One video to spoil: what is done to `plan`, and what the sidecar says of it."""

    plan: VideoPlan
    stem: str
    fault: Fault
    make: Callable[[VideoPlan, Path], None]
    offset_seconds: float = 0.0
    is_readable: bool = True

    def render(self, path: Path) -> Cost:
        started = time.process_time()
        self.make(self.plan, path)
        seconds = time.process_time() - started
        return Cost(self.plan.num_frames, self.plan.duration_seconds, seconds, seconds)

    def truth(self, file_name: str) -> SourceTruth:
        whole = video_truth(self.plan, file_name)
        shots = [
            replace(
                shot,
                events=[
                    replace(event, audio_seconds=round(event.audio_seconds + self.offset_seconds, 6))
                    for event in shot.events
                ],
            )
            for shot in whole.shots
        ]
        return replace(
            whole,
            duration_seconds=whole.duration_seconds if self.is_readable else 0.0,
            shots=shots if self.is_readable else [],
            faults=[self.fault],
            planted_offset_seconds=self.offset_seconds,
        )


def plan_faults(config: CorpusConfig, clip_seconds: float, seed: int, first: VideoPlan) -> list[SpoiltVideo]:
    """One spoilt video for every fault. `first` is the ordinary video that the duplicate repeats."""
    rows: list[tuple[str, str, Callable[[VideoPlan, Path], None], dict[str, Any]]] = [
        ("sound_late", f"sound {LATE_SECONDS:.3f} s late", _sound_late, {"offset_seconds": LATE_SECONDS}),
        ("sound_early", f"sound {-EARLY_SECONDS:.3f} s early", _sound_early, {"offset_seconds": EARLY_SECONDS}),
        ("silence", "every sample is zero", _silent, {}),
        ("black_borders", f"{BORDER_SHARE:.0%} of the height above and below", _bordered, {}),
        ("blur", f"Gaussian, {BLUR_SHARE:.0%} of the smaller side", _blurred, {}),
        ("clipping", f"amplified {CLIPPING_GAIN:.0f} times", _clipped, {}),
        ("burned_in_text", f"the words {TEXT}", _with_text, {}),
        ("no_audio", "the file has no audio track", _without_audio, {}),
        ("truncated", f"cut off after {KEPT_BYTES:.0%} of its bytes", _truncated, {"is_readable": False}),
        ("empty_file", "no byte in it", _empty, {"is_readable": False}),
        ("zero_length", "a video track without a frame", _zero_length, {"is_readable": False}),
        ("variable_frame_rate", f"{1 - KEPT_FRAMES:.0%} of the frames left out at random", _variable_rate, {}),
        ("rotated", "stored a quarter turn counterclockwise, to be shown upright", _rotated, {}),
        ("hostile_name", "quotes, blanks, shell and HTML characters in its name", _ordinary, {"stem": HOSTILE_STEM}),
    ]
    spoilt = [
        SpoiltVideo(
            plan=plan_video(config, clip_seconds, (seed, FIRST_SEED + index), f"fault-{name}", NUM_SHOTS),
            stem=str(options.pop("stem", f"fault-{name}")),
            fault=Fault(name, detail),
            make=make,
            **options,
        )
        for index, (name, detail, make, options) in enumerate(rows)
    ]
    return [*spoilt, SpoiltVideo(first, "fault-duplicate", Fault("duplicate", f"the same as {first.name}"), _ordinary)]


def _frames_of(plan: VideoPlan) -> Frames:
    return np.concatenate([shot_pictures(plan, index) for index in range(len(plan.shots))])


def _sound_of(plan: VideoPlan) -> Waveform:
    return np.concatenate([shot_sound(plan, index) for index in range(len(plan.shots))])


def _write(
    plan: VideoPlan,
    path: Path,
    frames: Frames,
    sound: Waveform | None,
    *,
    seconds: list[float] | None = None,
    turn: int = 0,
    audio_codec: AudioCodec = "aac",
) -> None:
    with MediaWriter(
        path,
        width=frames.shape[2],
        height=frames.shape[1],
        fps=plan.fps,
        sample_rate_hz=None if sound is None else plan.sample_rate_hz,
        audio_codec=audio_codec,
        constant_rate_factor=CONSTANT_RATE_FACTOR,
        variable_rate=seconds is not None,
        rotation_degrees=turn,
    ) as writer:
        writer.write_frames(frames, seconds)
        if sound is not None:
            writer.write_audio(sound)


def _ordinary(plan: VideoPlan, path: Path) -> None:
    render_video(plan, path)


def _shifted(plan: VideoPlan, path: Path, offset_seconds: float) -> None:
    """What moves in at one end is what moved out at the other's noise: the noise floor goes on."""
    sound = _sound_of(plan)
    shift = round(offset_seconds * plan.sample_rate_hz)
    noise = np.random.default_rng((*plan.seed, NUM_SHOTS)).standard_normal(abs(shift), np.float32) * plan.noise_floor
    noise = noise.astype(np.float32)
    moved = np.concatenate([noise, sound[:-shift]] if shift > 0 else [sound[-shift:], noise])
    _write(plan, path, _frames_of(plan), moved)


def _sound_late(plan: VideoPlan, path: Path) -> None:
    _shifted(plan, path, LATE_SECONDS)


def _sound_early(plan: VideoPlan, path: Path) -> None:
    _shifted(plan, path, EARLY_SECONDS)


def _silent(plan: VideoPlan, path: Path) -> None:
    _write(plan, path, _frames_of(plan), np.zeros_like(_sound_of(plan)))


def _bordered(plan: VideoPlan, path: Path) -> None:
    border = 2 * round(BORDER_SHARE * plan.height / 2)
    _write(plan, path, np.pad(_frames_of(plan), ((0, 0), (border, border), (0, 0), (0, 0))), _sound_of(plan))


def _blurred(plan: VideoPlan, path: Path) -> None:
    import cv2

    deviation = BLUR_SHARE * min(plan.width, plan.height)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), deviation) for frame in _frames_of(plan)])
    _write(plan, path, frames.astype(np.uint8), _sound_of(plan))


def _clipped(plan: VideoPlan, path: Path) -> None:
    """Lossless, since AAC rounds the flat tops: of a fifth of the samples at full scale it leaves a hundredth."""
    _write(plan, path, _frames_of(plan), np.clip(CLIPPING_GAIN * _sound_of(plan), -1, 1), audio_codec="flac")


def _with_text(plan: VideoPlan, path: Path) -> None:
    import cv2

    frames = np.ascontiguousarray(_frames_of(plan))
    scale = plan.width / 130
    for frame in frames:
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            origin = (2, plan.height - 6)
            cv2.putText(frame, TEXT, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, colour, thickness, cv2.LINE_AA)
    _write(plan, path, frames, _sound_of(plan))


def _without_audio(plan: VideoPlan, path: Path) -> None:
    _write(plan, path, _frames_of(plan), None)


def _truncated(plan: VideoPlan, path: Path) -> None:
    render_video(plan, path)
    with path.open("r+b") as stream:
        stream.truncate(int(KEPT_BYTES * path.stat().st_size))


def _empty(plan: VideoPlan, path: Path) -> None:
    path.touch()


def _zero_length(plan: VideoPlan, path: Path) -> None:
    """Only a fragmented file may announce a track that holds nothing."""
    import av

    options = {"movflags": "empty_moov+frag_keyframe"}
    with av.open(local_url(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=exact_rate(plan.fps))
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        container.start_encoding()


def _variable_rate(plan: VideoPlan, path: Path) -> None:
    """The frames that stay keep their instants, so picture and sound still agree."""
    frames = _frames_of(plan)
    kept = np.random.default_rng((*plan.seed, NUM_SHOTS)).uniform(size=len(frames)) < KEPT_FRAMES
    kept[0] = True
    seconds = [float(index / plan.fps) for index in np.flatnonzero(kept)]
    _write(plan, path, frames[kept], _sound_of(plan), seconds=seconds)


def _rotated(plan: VideoPlan, path: Path) -> None:
    oblong = replace(plan, width=OBLONG[0], height=OBLONG[1])
    stored = np.ascontiguousarray(np.rot90(_frames_of(oblong), 1, axes=(1, 2)))
    _write(oblong, path, stored, _sound_of(oblong), turn=-90)
