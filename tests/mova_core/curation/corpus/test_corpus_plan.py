"""What is planned is fixed by the seed, and fit to learn from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mova_core.config import Config, parse_config, preset_text
from mova_core.curation.corpus import palette
from mova_core.curation.corpus.plan import VideoPlan, plan_corpus, plan_video

CLIP_SECONDS = 33 / 24


@pytest.fixture(scope="module")
def nano() -> Config:
    return parse_config(preset_text("nano"), source="nano")


@pytest.fixture(scope="module")
def plans(nano: Config) -> list[VideoPlan]:
    return plan_corpus(nano.corpus, nano.media.clip_seconds, nano.seed)


def test_the_seed_alone_decides(nano: Config, plans: list[VideoPlan]) -> None:
    assert plan_corpus(nano.corpus, nano.media.clip_seconds, nano.seed) == plans
    assert plan_corpus(nano.corpus, nano.media.clip_seconds, nano.seed + 1)[0].shots != plans[0].shots


def test_a_video_does_not_depend_on_the_others(nano: Config, plans: list[VideoPlan]) -> None:
    alone = plan_video(nano.corpus, nano.media.clip_seconds, (nano.seed, 17), "demo-0017")
    assert alone == plans[17]


def test_the_preset_holds_enough_clips_of_every_class(nano: Config, plans: list[VideoPlan]) -> None:
    shots = [shot for plan in plans for shot in plan.shots]
    fitting = dict.fromkeys(nano.corpus.classes, 0)
    for shot in shots:
        fitting[shot.label] += int((shot.end_seconds - shot.start_seconds) / CLIP_SECONDS)
    assert sum(fitting.values()) >= 3_800
    for label, share in nano.corpus.classes.items():
        assert fitting[label] / sum(fitting.values()) == pytest.approx(share, abs=0.05)


def test_shots_follow_each_other_without_a_gap(plans: list[VideoPlan]) -> None:
    for plan in plans:
        assert len(plan.shots) > 1
        assert [shot.first_frame for shot in plan.shots[1:]] == [
            shot.first_frame + shot.num_frames for shot in plan.shots[:-1]
        ]


def test_events_keep_away_from_cuts_and_from_each_other(plans: list[VideoPlan]) -> None:
    for shot in (shot for plan in plans for shot in plan.shots):
        instants = np.asarray([stroke.seconds for stroke in shot.strokes])
        duration = shot.end_seconds - shot.start_seconds
        assert instants[0] >= 0.12
        assert instants[-1] <= duration - 0.2
        assert np.diff(instants).min(initial=1) >= 0.38
        assert shot.before_seconds < 0
        assert shot.after_seconds > duration


def test_every_clip_has_an_event_and_chance_finds_few(plans: list[VideoPlan]) -> None:
    """Chance: the share of a clip's events that another clip's events meet within one frame."""
    rng = np.random.default_rng(0)
    clips = []
    for shot in (shot for plan in plans for shot in plan.shots):
        start = rng.uniform(0, shot.end_seconds - shot.start_seconds - CLIP_SECONDS)
        instants = np.asarray([stroke.seconds for stroke in shot.strokes]) - start
        clips.append(instants[(instants >= 0) & (instants < CLIP_SECONDS)])
    counts = [len(clip) for clip in clips]
    assert np.mean([count > 0 for count in counts]) > 0.97
    assert 1.0 <= np.mean(counts) <= 2.5
    hits = [
        np.abs(other - event).min(initial=9) <= 1 / 24 for clip, other in itertools.pairwise(clips) for event in clip
    ]
    assert np.mean(hits) < 0.16


def test_the_first_frame_tells_nothing_of_the_first_event(plans: list[VideoPlan]) -> None:
    """Neither colour nor place nor size goes with the time of the first event."""
    shots = [shot for plan in plans for shot in plan.shots]
    first = np.asarray([shot.strokes[0].seconds for shot in shots])
    for seen in ([s.centre[0] for s in shots], [s.scale for s in shots], [len(s.colour) for s in shots]):
        assert abs(np.corrcoef(first, seen)[0, 1]) < 0.1


def test_both_sides_of_a_cut_look_different(plans: list[VideoPlan]) -> None:
    for plan in plans:
        for before, after in zip(plan.shots, plan.shots[1:], strict=False):
            assert palette.cut_distance(before.background, after.background) >= palette.CUT_DISTANCE


def test_any_background_can_be_followed_by_any_class() -> None:
    for name in palette.BACKGROUNDS:
        assert palette.backgrounds_after(name, only_dark=True)
        assert len(palette.readable_colours(name)) >= 2
