"""Windows obey the rules, on timelines of every kind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mova_core.curation.segment import (
    ROUNDING_SECONDS,
    Timeline,
    Window,
    find_windows,
    merged,
    remainder,
    sound_starts,
    speech_starts,
    starts_around_cuts,
)

W = 1.375


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Sources of one to twenty seconds at a steady or an unsteady rate, with cuts on frames and speech anywhere."""
    fps = draw(st.sampled_from([10.0, 23.976, 24.0, 25.0, 29.97, 60.0]))
    count = draw(st.integers(int(fps), int(12 * fps)))
    if draw(st.booleans()):
        seconds = [index / fps for index in range(count)]
    else:
        steps = np.random.default_rng(draw(st.integers(0, 9))).uniform(0.2, 2.0, count) / fps
        seconds = np.concatenate([[0.0], np.cumsum(steps)[:-1]]).tolist()
    end = seconds[-1] + 1 / fps
    cuts = sorted(set(draw(st.lists(st.sampled_from(seconds[1:]), max_size=6))))
    edges = sorted(draw(st.lists(st.floats(0, end), max_size=16, unique=True)))
    speech = list(zip(edges[::2], edges[1::2], strict=False))
    return Timeline(seconds, end, cuts, speech)


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def longest_frame(timeline: Timeline) -> float:
    return max(np.diff([*timeline.frame_seconds, timeline.end_seconds]))


@settings(max_examples=60, deadline=None)
@given(timelines(), st.booleans())
def test_speech_windows_obey_the_rule(timeline: Timeline, multi_shot: bool) -> None:
    starts = speech_starts(timeline, W, generator(), multi_shot=multi_shot)
    frame = longest_frame(timeline) + ROUNDING_SECONDS
    for start in starts:
        assert start in timeline.frame_seconds
        assert start + W <= timeline.end_seconds + ROUNDING_SECONDS
        # Some segment i explains the window: its start is the latest start, and all three earliest bounds hold.
        explained = False
        for index, (speech_start, _) in enumerate(timeline.speech):
            cuts_before = [cut for cut in timeline.cuts if cut <= speech_start + ROUNDING_SECONDS]
            earliest = max(
                timeline.speech[index - 1][1] if index else 0.0,
                cuts_before[-1] if cuts_before else 0.0,
                speech_start - W / 2,
            )
            if index == 0:
                earliest = speech_start
            explained |= min(earliest, speech_start) - frame <= start <= speech_start + ROUNDING_SECONDS
        assert explained
        inside = [c for c in timeline.cuts if start + ROUNDING_SECONDS < c < start + W - ROUNDING_SECONDS]
        assert bool(inside) == multi_shot
    for before, after in itertools.pairwise(starts):
        # The next window begins at most W/2 and a frame before a segment that starts after this one's end.
        assert after + W / 2 + frame >= before + W


@settings(max_examples=60, deadline=None)
@given(timelines(), st.floats(0, 1))
def test_every_window_lies_in_the_source_and_is_what_its_kind_says(timeline: Timeline, share: float) -> None:
    windows = find_windows(timeline, W, share, generator())
    assert [w.start_seconds for w in windows] == sorted(w.start_seconds for w in windows)
    for window in windows:
        start, end = window.start_seconds, window.start_seconds + W
        assert start >= timeline.frame_seconds[0]
        assert end <= timeline.end_seconds + ROUNDING_SECONDS
        inside = [c for c in timeline.cuts if start + ROUNDING_SECONDS < c < end - ROUNDING_SECONDS]
        assert window.num_cuts == len(inside)
        assert window.kind.startswith("multi" if inside else "single")
        if window.kind.endswith("sound"):
            frame = longest_frame(timeline)
            assert all(s >= end - ROUNDING_SECONDS or e <= start + frame for s, e in timeline.speech)
    if share == 0:
        assert not any(window.num_cuts for window in windows)


@settings(max_examples=40, deadline=None)
@given(timelines())
def test_sound_windows_fill_what_is_left(timeline: Timeline) -> None:
    starts = sound_starts(timeline, W, timeline.speech, generator())
    frame = longest_frame(timeline) + ROUNDING_SECONDS
    assert all(after - before >= W - frame for before, after in itertools.pairwise(starts))
    fitting = sum(
        int((end - start - frame) / W) for shot in timeline.shots for start, end in remainder(shot, timeline.speech)
    )
    assert len(starts) >= fitting


def steady(seconds: float, cuts: list[float], speech: list[tuple[float, float]]) -> Timeline:
    return Timeline([index / 24 for index in range(round(seconds * 24))], seconds, cuts, speech)


def test_the_first_segment_starts_its_window_and_the_next_is_the_first_after_its_end() -> None:
    timeline = steady(6.0, [], [(1.0, 1.2), (1.5, 1.7), (2.0, 2.1), (2.5, 2.6), (4.5, 4.7)])
    starts = speech_starts(timeline, W, generator(), multi_shot=False)
    assert starts[0] == 1.0
    # 1.5 and 2.0 lie within the first window; 2.5 is the first after it, drawn between 2.1 and 2.5.
    assert 2.1 - 1 / 24 <= starts[1] <= 2.5
    assert 4.5 - W / 2 - 1 / 24 <= starts[2] <= 4.5
    assert len(starts) == 3


def test_a_single_shot_window_that_would_cross_a_cut_is_a_multi_shot_one() -> None:
    timeline = steady(4.0, [2.0], [(1.5, 2.4)])
    assert speech_starts(timeline, W, generator(), multi_shot=False) == []
    assert speech_starts(timeline, W, generator(), multi_shot=True) == [1.5]


def test_a_shot_start_bounds_the_draw() -> None:
    timeline = steady(6.0, [2.0], [(0.1, 0.2), (2.1, 2.3)])
    starts = [speech_starts(timeline, W, np.random.default_rng(seed), multi_shot=False)[1] for seed in range(40)]
    assert min(starts) == 2.0
    assert max(starts) >= 2.0 + 2 / 24
    assert max(starts) <= 2.1


def test_draws_are_uniform_between_earliest_and_latest() -> None:
    timeline = steady(8.0, [], [(0.0, 0.5), (5.0, 5.5)])
    starts = [speech_starts(timeline, W, np.random.default_rng(seed), multi_shot=False)[1] for seed in range(600)]
    counts, _ = np.histogram(starts, bins=4, range=(5.0 - W / 2 - 0.5 / 24, 5.0 + 1e-6))
    assert counts.min() > 0.7 * 150
    assert counts.max() < 1.3 * 150


def test_windows_around_a_cut_hold_it_inside() -> None:
    timeline = steady(9.0, [3.0, 6.0], [(4.0, 4.5)])
    for seed in range(30):
        starts = starts_around_cuts(timeline, W, timeline.speech, np.random.default_rng(seed))
        assert len(starts) == 2
        assert all(start < cut < start + W for start, cut in zip(starts, timeline.cuts, strict=True))


def test_equal_seeds_draw_equal_windows_and_the_share_thins_only_multi_shot_ones() -> None:
    timeline = steady(30.0, [5.0 * k for k in range(1, 6)], [(7.0, 7.5), (9.8, 10.4), (21.0, 21.3)])
    every = find_windows(timeline, W, 1.0, generator())
    assert find_windows(timeline, W, 1.0, generator()) == every
    none = find_windows(timeline, W, 0.0, generator())
    assert [w for w in every if not w.num_cuts] == none
    assert any(isinstance(w, Window) and w.kind == "multi_sound" for w in every)
    assert any(w.kind == "multi_speech" for w in every)


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ([], [(1.0, 5.0)]),
        ([(0.0, 6.0)], []),
        ([(0.0, 2.0), (3.0, 4.0)], [(2.0, 3.0), (4.0, 5.0)]),
        ([(1.0, 2.0), (4.5, 9.0)], [(2.0, 4.5)]),
    ],
)
def test_remainder(taken: list[tuple[float, float]], left: list[tuple[float, float]]) -> None:
    assert remainder((1.0, 5.0), taken) == left


def test_merging_joins_what_overlaps() -> None:
    assert merged([(3.0, 4.0), (0.0, 1.0), (0.5, 2.0), (2.0, 2.5)]) == [(0.0, 2.5), (3.0, 4.0)]
