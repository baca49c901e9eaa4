"""One source decoded once: where its cuts, borders and speech are; and its pictures again, in the canonical form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.config.curation import CurateConfig
from mova_core.config.media import MediaConfig
from mova_core.curation.normalise import BorderFinder, Fit, fit_into, frames_on_screen
from mova_core.curation.segment import Timeline
from mova_core.curation.shots import ChangeMeter, CutFinder, shrunk
from mova_core.curation.stopwatch import Stopwatch
from mova_core.data.media import MediaError, iter_frames, read_audio
from mova_core.data.records import Source
from mova_core.scorers.onsets import onset_offset, picture_onset_curve, sound_onset_curve
from mova_core.scorers.picture import OverlayFinder
from mova_core.scorers.speech import speech_segments

Pixels = NDArray[np.uint8]
Waveform = NDArray[np.float32]

BYTES_PER_MIB = 1 << 20
SECONDS_BETWEEN_OVERLAY_LOOKS = 0.5


@dataclass(frozen=True)
class Survey:
    """What one pass over a source found.

    Attributes
    ----------
    fit : how its pictures become canonical.
    waveform : float32 mono, the whole of it, at the canonical rate.
    text_overlay, av_offset_seconds : see `records.Clip`.
    held : its pictures as decoded; None if they were too many to hold, and `clip_frames` decodes again.
    decode_seconds : time that decoding took, the rest of the pass left out.
    """

    path: Path
    media: MediaConfig
    timeline: Timeline
    fit: Fit
    waveform: Waveform
    text_overlay: float
    av_offset_seconds: float
    held: Sequence[Pixels] | None
    decode_seconds: float

    def clip_frames(self, start_seconds: float) -> Pixels:
        """The canonical frames ``[T, H, W, 3]`` of the clip that starts there."""
        times = self.timeline.frame_seconds
        shown = frames_on_screen(times, start_seconds, self.media.fps, self.media.num_frames)
        first, last = int(shown[0]), int(shown[-1])
        pictures = self._decoded_again(times[first], times[last]) if self.held is None else self.held[first : last + 1]
        needed = set(shown.tolist())
        canonical = {
            index: self.fit.apply(picture) for index, picture in enumerate(pictures, start=first) if index in needed
        }
        return np.stack([canonical[index] for index in shown.tolist()])

    def clip_waveform(self, start_seconds: float) -> Waveform:
        """The sound of the clip that starts there, ``[S]``; zeros where the source has none."""
        first = round(start_seconds * self.media.sample_rate_hz)
        samples = self.waveform[first : first + self.media.num_audio_samples]
        return np.pad(samples, (0, self.media.num_audio_samples - samples.size))

    def _decoded_again(self, first_seconds: float, last_seconds: float) -> Iterator[Pixels]:
        for frame in iter_frames(self.path, first_seconds, math.nextafter(last_seconds, math.inf)):
            yield frame.pixels


def survey(path: Path, source: Source, media: MediaConfig, config: CurateConfig) -> Survey:
    """Decodes a source from end to end.

    Raises
    ------
    MediaError : if it stops decoding part way, or shows nothing.
    """
    borders, overlay = BorderFinder(config.black_level), OverlayFinder()
    cuts = CutFinder(config.cut_threshold, max(round(config.min_shot_seconds * source.fps), 1))
    meter = ChangeMeter()
    times: list[float] = []
    held: list[Pixels] | None = []
    held_bytes = 0
    next_look = 0.0
    watch = Stopwatch()
    for frame in watch.timed(iter_frames(path)):
        small = shrunk(frame.pixels)
        cuts.add(small)
        meter.add(small)
        borders.add(frame.pixels)
        times.append(frame.seconds)
        if frame.seconds >= next_look:
            overlay.add(frame.pixels)
            next_look = frame.seconds + SECONDS_BETWEEN_OVERLAY_LOOKS
        held_bytes += frame.pixels.nbytes
        if held is not None and held_bytes <= config.frame_buffer_mib * BYTES_PER_MIB:
            held.append(frame.pixels)
        else:
            held = None
    if not times:
        raise MediaError("zero_length", "no frame decodes")
    with watch:
        waveform = read_audio(path, media.sample_rate_hz)
    return Survey(
        path=path,
        media=media,
        timeline=Timeline(
            frame_seconds=times,
            end_seconds=max(source.duration_seconds, times[-1]),
            cuts=[times[index] for index in cuts.frames],
            speech=_speech(waveform, media.sample_rate_hz, config),
        ),
        fit=fit_into(borders.box(), media.width, media.height),
        waveform=waveform,
        text_overlay=overlay.score() if cuts.frames else math.nan,
        av_offset_seconds=onset_offset(
            picture_onset_curve(np.asarray(meter.changes), cuts.frames),
            np.asarray(times),
            sound_onset_curve(waveform, media.sample_rate_hz),
        ),
        held=held,
        decode_seconds=watch.seconds,
    )


def _speech(waveform: Waveform, sample_rate_hz: int, config: CurateConfig) -> list[tuple[float, float]]:
    return speech_segments(
        waveform,
        sample_rate_hz,
        aggressiveness=config.vad_aggressiveness,
        min_speech_seconds=config.min_speech_seconds,
        min_pause_seconds=config.min_pause_seconds,
        min_pitched_share=config.min_pitched_share,
    )


def covered_share(spans: Iterable[tuple[float, float]], start_seconds: float, end_seconds: float) -> float:
    """Share of the time between the two instants that disjoint spans cover."""
    covered = sum(max(min(end, end_seconds) - max(start, start_seconds), 0.0) for start, end in spans)
    return covered / (end_seconds - start_seconds)
