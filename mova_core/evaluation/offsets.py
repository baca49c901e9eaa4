"""How far apart the events of picture and sound are, with intervals, and how near they would be by chance.

An event is paired with the nearest event of the other modality, from the picture's side (each visible event asks for
its sound) and from the sound's side (each sound asks for its event: a spurious onset counts against a clip here). An
event of a clip whose other modality holds none is a miss and stays in the denominator. Offsets are audio minus video
in seconds: positive means that the sound comes late.

Chance is measured, not assumed: every clip's picture with the sound of every other clip of its class. Whatever the
class' habits are (how many events, where they tend to lie), chance has them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

NUM_BOOTSTRAPS = 1000
NUM_DERANGEMENTS = 2000
# A one-frame window is closed: an offset of exactly one frame counts, whatever the last bit of its float says.
EDGE_SECONDS = 1e-9


@dataclass(frozen=True)
class ClipEvents:
    """The detected events of one clip, in seconds on the clip's clock."""

    label: str
    video: Seconds
    audio: Seconds


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval over clips; all three are NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Direction:
    """The offsets seen from one modality.

    Attributes
    ----------
    num_events : events of the asking modality; the denominator of both shares.
    num_missed : those whose clip holds no event of the other modality.
    within_one_frame, within_one_latent_frame : share of events whose partner is that near.
    median_abs_seconds : median distance over the events that have a partner.
    offsets : signed offsets (audio minus video) of the events that have a partner, in the clips' order.
    """

    num_events: int
    num_missed: int
    within_one_frame: Estimate
    within_one_latent_frame: Estimate
    median_abs_seconds: Estimate
    offsets: tuple[float, ...]


@dataclass(frozen=True)
class Chance:
    """The same figures with pictures and sounds of a class re-paired.

    Attributes
    ----------
    within_one_frame, within_one_latent_frame : mean over all pairs of different clips of a class, as seen from the
        picture; the range holds 95 % of the random re-pairings of the whole set.
    median_abs_seconds : over all those pairs.
    p_value : share of random re-pairings at least as good as the clips' own pairing (within one frame).
    num_pairs : pairs of different clips of one class.
    offsets : signed offsets of all those pairs, from the picture.
    """

    within_one_frame: Estimate
    within_one_latent_frame: Estimate
    median_abs_seconds: float
    p_value: float
    num_pairs: int
    offsets: tuple[float, ...]


@dataclass(frozen=True)
class SyncFigures:
    """Synchrony of a set of clips."""

    num_clips: int
    num_clips_without_visible_event: int
    num_clips_without_audible_event: int
    video_to_audio: Direction
    audio_to_video: Direction
    chance: Chance


def measure(
    clips: Sequence[ClipEvents], *, frame_seconds: float, latent_frame_seconds: float, seed: int
) -> SyncFigures:
    """Measures a set of clips against the two windows, with chance and intervals drawn from `seed`."""
    windows = (frame_seconds, latent_frame_seconds)
    generator = np.random.default_rng(seed)
    forward = [signed_offsets(clip.video, clip.audio) for clip in clips]
    backward = [-signed_offsets(clip.audio, clip.video) for clip in clips]
    return SyncFigures(
        num_clips=len(clips),
        num_clips_without_visible_event=sum(len(clip.video) == 0 for clip in clips),
        num_clips_without_audible_event=sum(len(clip.audio) == 0 for clip in clips),
        video_to_audio=_direction(forward, windows, generator),
        audio_to_video=_direction(backward, windows, generator),
        chance=_chance(clips, forward, windows, generator),
    )


def signed_offsets(asking: Seconds, other: Seconds) -> Seconds:
    """For each event of `asking`, the nearest event of `other` minus it; NaN where `other` is empty."""
    if len(other) == 0:
        return np.full(len(asking), np.nan)
    differences = np.asarray(other)[None, :] - np.asarray(asking)[:, None]
    nearest = np.abs(differences).argmin(axis=1)
    offsets: Seconds = differences[np.arange(len(asking)), nearest]
    return offsets


def _within(offsets: Seconds, window_seconds: float) -> int:
    """How many offsets lie within the window; NaN (a miss) never does."""
    return int(np.count_nonzero(np.abs(offsets) <= window_seconds + EDGE_SECONDS))


def _ratio(hits: npt.NDArray[np.float64] | float, totals: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """hits / totals, NaN where there is no total."""
    totals = np.asarray(totals, dtype=np.float64)
    return np.asarray(hits) / np.where(totals > 0, totals, np.nan)


def _range(value: float, draws: npt.NDArray[np.float64]) -> Estimate:
    """A value with the middle 95 % of `draws`."""
    kept = draws[~np.isnan(draws)]
    if np.isnan(value) or len(kept) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(kept, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))


def _direction(per_clip: list[Seconds], windows: tuple[float, float], generator: np.random.Generator) -> Direction:
    everything = np.concatenate(per_clip) if per_clip else np.zeros(0)
    paired = everything[~np.isnan(everything)]
    totals = np.array([len(offsets) for offsets in per_clip], dtype=np.float64)
    drawn = generator.integers(0, max(len(per_clip), 1), (NUM_BOOTSTRAPS, len(per_clip)))

    def share(window_seconds: float) -> Estimate:
        hits = np.array([_within(offsets, window_seconds) for offsets in per_clip], dtype=np.float64)
        draws = _ratio(hits[drawn].sum(axis=1), totals[drawn].sum(axis=1))
        return _range(float(_ratio(hits.sum(), totals.sum())), draws)

    return Direction(
        num_events=len(everything),
        num_missed=len(everything) - len(paired),
        within_one_frame=share(windows[0]),
        within_one_latent_frame=share(windows[1]),
        median_abs_seconds=_median(per_clip, drawn),
        offsets=tuple(float(offset) for offset in paired),
    )


def _median(per_clip: list[Seconds], drawn: npt.NDArray[np.int64]) -> Estimate:
    """Median distance with its interval; a bootstrap draw repeats a clip's events as often as it drew the clip."""
    if not per_clip:
        return Estimate(float("nan"), float("nan"), float("nan"))
    distances = np.abs(np.concatenate(per_clip))
    owner = np.repeat(np.arange(len(per_clip)), [len(offsets) for offsets in per_clip])
    order = np.argsort(distances)
    order = order[~np.isnan(distances[order])]
    if len(order) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    counts = np.zeros((len(drawn), len(per_clip)))
    np.add.at(counts, (np.arange(len(drawn))[:, None], drawn), 1.0)
    cumulated = counts[:, owner[order]].cumsum(axis=1)
    halfway = (cumulated < cumulated[:, -1:] / 2).sum(axis=1)
    draws = np.where(cumulated[:, -1] > 0, distances[order][np.minimum(halfway, len(order) - 1)], np.nan)
    return _range(float(np.median(distances[order])), draws)


def _chance(
    clips: Sequence[ClipEvents], own: list[Seconds], windows: tuple[float, float], generator: np.random.Generator
) -> Chance:
    """Re-pairs within classes. A clip that is alone in its class has nobody to swap with and is left out."""
    groups = [group for group in _groups(clips).values() if len(group) > 1]
    offsets: list[Seconds] = []
    random_hits = np.zeros((2, NUM_DERANGEMENTS))
    own_hits = np.zeros(2)
    mean_hits = np.zeros(2)
    num_events = num_pairs = 0
    for group in groups:
        size = len(group)
        table = np.zeros((2, size, size))
        pictures = np.concatenate([clips[i].video for i in group])
        owner = np.repeat(np.arange(size), [len(clips[i].video) for i in group])
        for column, j in enumerate(group):
            pairs = signed_offsets(pictures, clips[j].audio)
            offsets.append(pairs[(owner != column) & ~np.isnan(pairs)])
            for row, window in enumerate(windows):
                near = np.abs(pairs) <= window + EDGE_SECONDS
                table[row, :, column] = np.bincount(owner, weights=near, minlength=size)
        table[:, np.arange(size), np.arange(size)] = 0.0
        rows, columns = derangements(size, NUM_DERANGEMENTS, generator)
        random_hits += table[:, rows, columns].sum(axis=2)
        mean_hits += table.sum(axis=(1, 2)) / (size - 1)
        own_hits += [sum(_within(own[i], window) for i in group) for window in windows]
        num_events += sum(len(clips[i].video) for i in group)
        num_pairs += size * (size - 1)
    flat = np.concatenate(offsets) if offsets else np.zeros(0)
    means, draws = _ratio(mean_hits, float(num_events)), _ratio(random_hits, float(num_events))
    shares = [_range(float(means[k]), draws[k]) for k in (0, 1)]
    as_good = np.count_nonzero(random_hits[0] >= own_hits[0])
    return Chance(
        within_one_frame=shares[0],
        within_one_latent_frame=shares[1],
        median_abs_seconds=float(np.median(np.abs(flat))) if len(flat) else float("nan"),
        p_value=(1 + as_good) / (1 + NUM_DERANGEMENTS) if num_events else float("nan"),
        num_pairs=num_pairs,
        offsets=tuple(float(offset) for offset in flat),
    )


def _groups(clips: Sequence[ClipEvents]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(clip.label, []).append(index)
    return groups


def derangements(
    size: int, count: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`count` random pairings of `size` >= 2 items in which no item meets itself.

    Each is a random order turned by a random number of places, so every item meets every other equally often.

    Returns
    -------
    Two int arrays ``[count, size]``: item ``rows[k, n]`` meets item ``columns[k, n]`` in pairing k.
    """
    rows = generator.permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    turn = generator.integers(1, size, (count, 1))
    columns = np.take_along_axis(rows, (np.arange(size)[None, :] + turn) % size, axis=1)
    return rows, columns
