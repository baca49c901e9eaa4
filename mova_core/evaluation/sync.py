"""Synchrony of a set of clips, from frames and waveforms to figures: detect, then compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mova_core.evaluation.audible import Waveform, audible_events
from mova_core.evaluation.offsets import ClipEvents, SyncFigures, measure
from mova_core.evaluation.visible import Frames, visible_events

# Frames of one latent frame: the video codec's temporal stride, which MediaConfig's frame count presumes too.
FRAMES_PER_LATENT = 4


@dataclass(frozen=True)
class SyncResult:
    """Figures of a set, over all its clips and per class, with the events they were taken from."""

    overall: SyncFigures
    per_class: dict[str, SyncFigures]
    events: tuple[ClipEvents, ...]

    @property
    def within_one_frame(self) -> float:
        """Share of visible events whose sound is at most one frame away, 0..1."""
        return self.overall.video_to_audio.within_one_frame.value

    @property
    def chance(self) -> float:
        """The same share with the pictures and sounds of a class re-paired."""
        return self.overall.chance.within_one_frame.value

    @property
    def median_ms(self) -> float:
        """Median distance of a visible event from the nearest onset, in milliseconds."""
        return 1000.0 * self.overall.video_to_audio.median_abs_seconds.value

    @property
    def counts(self) -> dict[str, int]:
        """Clips, events of either modality, and events whose clip holds none of the other."""
        figures = self.overall
        return {
            "clips": figures.num_clips,
            "visible_events": figures.video_to_audio.num_events,
            "audible_events": figures.audio_to_video.num_events,
            "visible_events_missed": figures.video_to_audio.num_missed,
            "audible_events_missed": figures.audio_to_video.num_missed,
        }


def sync_report(
    frames_list: Sequence[Frames],
    waveforms: Sequence[Waveform],
    labels: Sequence[str],
    fps: float,
    sample_rate_hz: int,
    seed: int,
) -> SyncResult:
    """Detects the events of every clip and measures how well sound and picture agree.

    Parameters
    ----------
    frames_list : per clip uint8 ``[T, H, W, 3]``, RGB; clips may differ in length and size.
    waveforms : per clip float32 ``[S]``, mono.
    labels : per clip the class it was asked to show.
    seed : draws the intervals and the random re-pairings.

    Raises
    ------
    ValueError : for lists of different lengths or a class without a detector.
    """
    clips = [
        detect(frames, waveform, label, fps, sample_rate_hz)
        for frames, waveform, label in zip(frames_list, waveforms, labels, strict=True)
    ]
    return summarise(clips, fps, seed)


def detect(frames: Frames, waveform: Waveform, label: str, fps: float, sample_rate_hz: int) -> ClipEvents:
    """The visible and the audible events of one clip; neither detector sees the other's input."""
    return ClipEvents(label, visible_events(frames, label, fps), audible_events(waveform, label, sample_rate_hz))


def summarise(clips: Sequence[ClipEvents], fps: float, seed: int) -> SyncResult:
    """Figures over all clips and per class, from events already detected."""

    def figures(chosen: Sequence[ClipEvents]) -> SyncFigures:
        return measure(chosen, frame_seconds=1 / fps, latent_frame_seconds=FRAMES_PER_LATENT / fps, seed=seed)

    labels = sorted({clip.label for clip in clips})
    per_class = {label: figures([clip for clip in clips if clip.label == label]) for label in labels}
    return SyncResult(figures(clips), per_class, tuple(clips))
