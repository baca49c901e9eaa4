"""Which windows of a source become clips. Times are seconds on the source's clock; nothing here reads media.

Windows have one length W and are of four kinds: one shot or several, with speech or without. Those with speech follow
the MOVA report (arXiv 2602.08794, data curation, stage 1). For speech segment i,

- the latest start is the start of the segment;
- the earliest start is the latest of: the end of segment i-1, the cut before the segment, W/2 before its start;
- the start is drawn uniformly between them (for the first segment it is the latest start);
- a single-shot window is kept if it ends before its shot does, a multi-shot one if a cut lies inside;
- the next segment is the first that starts after the window's end (after a window that is not kept: the next one).

The sibling rule for what is left without speech: a stretch of one shot that touches neither speech nor a window with
speech, and is L long, holds floor(L / W) windows in a row; what remains of L is dealt out at random before, between
and after them. A multi-shot window without speech is drawn uniformly among those around a cut that touch neither.

A start is always the instant of a frame (the last one at or before the drawn instant, the first one of its shot at
the least), so that a clip shows its frames at the times at which the source does.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[float, float]

# Sums of frame times carry rounding far below a frame's length.
ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True)
class Timeline:
    """What segmentation knows of a source.

    Attributes
    ----------
    frame_seconds : presentation time of every frame, rising.
    end_seconds : when the last frame ends.
    cuts : instants of the first frames of all shots but the first, rising.
    speech : speech segments, in order, disjoint.
    """

    frame_seconds: Sequence[float]
    end_seconds: float
    cuts: Sequence[float]
    speech: Sequence[Span]

    @property
    def shots(self) -> list[Span]:
        edges = [self.frame_seconds[0], *self.cuts, self.end_seconds]
        return list(itertools.pairwise(edges))

    def cuts_inside(self, start: float, end: float) -> int:
        """Cuts after the start and before the end."""
        return bisect_left(self.cuts, end - ROUNDING_SECONDS) - bisect_right(self.cuts, start + ROUNDING_SECONDS)

    def frame_at(self, seconds: float) -> float:
        """The instant of the last frame at or before `seconds`; of the first one, if there is none."""
        return self.frame_seconds[max(bisect_right(self.frame_seconds, seconds + ROUNDING_SECONDS) - 1, 0)]


@dataclass(frozen=True)
class Window:
    """A clip to be."""

    start_seconds: float
    kind: str  # single_speech, multi_speech, single_sound, multi_sound
    num_cuts: int


def find_windows(
    timeline: Timeline, clip_seconds: float, multi_shot_share: float, generator: np.random.Generator
) -> list[Window]:
    """All windows of a source, in order of their starts. Of those with cuts inside, a share is kept at random."""
    single = speech_starts(timeline, clip_seconds, generator, multi_shot=False)
    multi = speech_starts(timeline, clip_seconds, generator, multi_shot=True)
    taken = merged([*timeline.speech, *((start, start + clip_seconds) for start in single)])
    quiet_single = sound_starts(timeline, clip_seconds, taken, generator)
    quiet_multi = starts_around_cuts(timeline, clip_seconds, timeline.speech, generator)
    kept_multi = [
        (start, kind)
        for starts, kind in ((multi, "multi_speech"), (quiet_multi, "multi_sound"))
        for start in starts
        if generator.uniform() < multi_shot_share
    ]
    singles = [(start, "single_speech") for start in single] + [(start, "single_sound") for start in quiet_single]
    return [
        Window(start, kind, timeline.cuts_inside(start, start + clip_seconds))
        for start, kind in sorted([*singles, *kept_multi])
    ]


def speech_starts(
    timeline: Timeline, clip_seconds: float, generator: np.random.Generator, *, multi_shot: bool
) -> list[float]:
    """Starts of the windows with speech, by the report's rule."""
    starts = []
    free_from = -np.inf
    for index, (speech_start, _) in enumerate(timeline.speech):
        if speech_start < free_from:
            continue
        before = timeline.speech[index - 1][1] if index else -np.inf
        start = _drawn_start(timeline, speech_start, before, clip_seconds, generator, is_first=index == 0)
        end = start + clip_seconds
        if end > timeline.end_seconds + ROUNDING_SECONDS or (timeline.cuts_inside(start, end) > 0) != multi_shot:
            continue
        starts.append(start)
        free_from = end
    return starts


def _drawn_start(
    timeline: Timeline,
    latest: float,
    end_of_speech_before: float,
    clip_seconds: float,
    generator: np.random.Generator,
    *,
    is_first: bool,
) -> float:
    cut_before = bisect_right(timeline.cuts, latest + ROUNDING_SECONDS)
    shot_start = timeline.cuts[cut_before - 1] if cut_before else timeline.frame_seconds[0]
    earliest = max(end_of_speech_before, shot_start, latest - clip_seconds / 2)
    drawn = latest if is_first else float(generator.uniform(min(earliest, latest), latest))
    return max(timeline.frame_at(drawn), shot_start)


def sound_starts(
    timeline: Timeline, clip_seconds: float, taken: Sequence[Span], generator: np.random.Generator
) -> list[float]:
    """Starts of single-shot windows in what `taken` (disjoint spans, in order) leaves of each shot."""
    starts = []
    for shot in timeline.shots:
        for free_start, free_end in remainder(shot, taken):
            # The first frame wholly inside: starts are frames, and may only be rounded down from there on.
            first = timeline.frame_seconds[
                min(bisect_left(timeline.frame_seconds, free_start - ROUNDING_SECONDS), len(timeline.frame_seconds) - 1)
            ]
            count = int((free_end - first + ROUNDING_SECONDS) / clip_seconds)
            if count < 1:
                continue
            slack = free_end - first - count * clip_seconds
            shares = np.sort(generator.uniform(0, max(slack, 0.0), count))
            for index, share in enumerate(shares.tolist()):
                starts.append(timeline.frame_at(first + index * clip_seconds + share))
    return starts


def starts_around_cuts(
    timeline: Timeline, clip_seconds: float, taken: Sequence[Span], generator: np.random.Generator
) -> list[float]:
    """Starts of multi-shot windows that touch neither `taken` nor each other, at most one a cut."""
    starts: list[float] = []
    frames = timeline.frame_seconds
    for free_start, free_end in remainder((frames[0], timeline.end_seconds), taken):
        free_from = free_start
        for cut in timeline.cuts:
            # Frames before the cut, from which a window reaches beyond it and ends in the stretch.
            first = max(
                bisect_left(frames, free_from - ROUNDING_SECONDS),
                bisect_right(frames, cut - clip_seconds + ROUNDING_SECONDS),
            )
            end = min(
                bisect_left(frames, cut - ROUNDING_SECONDS),
                bisect_right(frames, free_end - clip_seconds + ROUNDING_SECONDS),
            )
            if first < end:
                starts.append(frames[int(generator.integers(first, end))])
                free_from = starts[-1] + clip_seconds
    return starts


def merged(spans: Sequence[Span]) -> list[Span]:
    """The union of spans as disjoint spans, in order."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def remainder(span: Span, taken: Sequence[Span]) -> list[Span]:
    """What disjoint, ordered spans leave of `span`."""
    result = []
    position, end = span
    for taken_start, taken_end in taken:
        if taken_end <= position or taken_start >= end:
            continue
        if taken_start > position:
            result.append((position, taken_start))
        position = max(position, taken_end)
    if position < end:
        result.append((position, end))
    return result
