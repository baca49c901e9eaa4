"""The truth of a raw video, and of the clips cut from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova_core.data.records import Event
from mova_core.data.truth import CURVE_HZ, Fault, Shot, SourceTruth, Truth
from mova_core.errors import UserError


def shot(label: str, start: float, end: float, instants: list[float], late: float = 0.0, **parts: str) -> Shot:
    return Shot(
        label=label,
        start_seconds=start,
        end_seconds=end,
        visual=parts.get("visual", f"a {label}"),
        speech=parts.get("speech", ""),
        sound=parts.get("sound", f"the {label}'s sound"),
        music="",
        events=[Event(label, t, t + late) for t in instants],
        curve=[min(k / CURVE_HZ / 10, 1.0) for k in range(int((end - start) * CURVE_HZ) + 1)]
        if label == "face"
        else [],
    )


def source(**changes: object) -> SourceTruth:
    values: dict[str, object] = {
        "video": 'a "shots":[] ü.mp4',
        "duration_seconds": 12.0,
        "shots": [shot("lamp", 0, 4, [0.5, 1.5, 3.9]), shot("face", 4, 8, [4.25, 5.0]), shot("lamp", 8, 12, [8.5])],
    }
    return SourceTruth(**{**values, **changes})  # type: ignore[arg-type]  # the test's own table


def test_a_sidecar_comes_back_as_it_was(tmp_path: Path) -> None:
    before = source(faults=[Fault("blur", 'sigma "3"')], planted_offset_seconds=-0.25)
    (tmp_path / "a.json").write_text(before.to_json(), encoding="utf-8")
    assert SourceTruth.load(tmp_path / "a.json") == before
    assert SourceTruth.load(tmp_path / "a.json").to_json() == before.to_json()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema":"truth-0"}', '{"schema":"truth-1","shots":[{}]}', "\x00"]
)
def test_what_is_no_sidecar_is_named_with_its_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"bad\.json is not a label sidecar"):
        SourceTruth.load(tmp_path / "bad.json")


def test_a_window_has_the_events_in_it_on_its_own_clock() -> None:
    truth = source().window(1.0, 1.375)
    assert truth.label == "lamp"
    assert truth.events == [Event("lamp", 0.5, 0.5)]
    assert truth.cuts == []
    assert (truth.visual, truth.sound, truth.speech) == ("a lamp", "the lamp's sound", "")


def test_an_event_counts_while_its_picture_or_its_sound_is_inside() -> None:
    late = source(shots=[shot("lamp", 0, 4, [0.9, 2.2], late=0.25)], planted_offset_seconds=0.25)
    truth = late.window(1.0, 1.375)
    assert truth.events == [Event("lamp", -0.1, 0.15), Event("lamp", 1.2, 1.45)]
    assert truth.planted_offset_seconds == 0.25
    assert late.window(2.46, 1.375).events == []


def test_a_window_over_a_cut_tells_both_shots() -> None:
    truth = source(faults=[Fault("blur", "")]).window(3.5, 1.0)
    assert truth.label == "lamp+face"
    assert truth.cuts == [0.5]
    assert [(event.kind, event.video_seconds) for event in truth.events] == [("lamp", 0.4), ("face", 0.75)]
    assert truth.visual == "a lamp; then a face"
    assert truth.curve == []
    assert truth.faults == ["blur"]
    assert source().window(3.0, 6.0).label == "lamp+face"


def test_a_sliver_of_the_next_shot_shows_no_frame_of_it() -> None:
    assert source().window(4 - 1.375 + 0.02, 1.375).label == "lamp"
    assert source().window(4 - 0.02, 1.375).label == "face"
    assert source().window(4 - 1.375 + 0.04, 1.375).label == "lamp+face"


def test_a_following_sound_brings_its_curve() -> None:
    curve = source().window(5.01, 1.0).curve
    assert len(curve) == 50
    assert curve[0] == pytest.approx(0.101, abs=1e-4)
    assert curve[-1] == pytest.approx((1.01 + 49 / CURVE_HZ) / 10, abs=1e-4)


def test_a_window_beyond_the_video_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no shot"):
        source().window(12.5, 1.0)


def test_a_clips_truth_is_one_line_and_comes_back() -> None:
    truth = source().window(4.1, 1.375)
    line = truth.to_json()
    assert "\n" not in line
    assert Truth.from_json(line) == truth
