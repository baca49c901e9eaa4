"""scheduler_config.json: what is written is read, the release's own file too, and damage is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mova_core.diffusion.scheduler import SCHEDULER_FILE, Scheduler
from mova_core.errors import UserError


def written(folder: Path, text: str) -> Path:
    path = folder / SCHEDULER_FILE
    path.parent.mkdir()
    path.write_text(text)
    return folder


def test_a_scheduler_survives_the_disk(tmp_path: Path) -> None:
    made = Scheduler(video_shift=2.0, audio_shift=3.5, num_given_frames=1, extra_one_step=False, sigma_min=0.0)
    made.save(tmp_path)
    assert Scheduler.load(tmp_path) == made


def test_the_release_s_one_shift_serves_both_and_nothing_is_put_back(tmp_path: Path) -> None:
    released = {"_class_name": "FlowMatchPairScheduler", "shift": 5.0, "extra_one_step": True, "shift_terminal": None}
    assert Scheduler.load(written(tmp_path, json.dumps(released))) == Scheduler(5.0, 5.0, 0, True)


def test_levels_end_where_the_checkpoint_says() -> None:
    points = Scheduler(video_shift=1.0, audio_shift=1.0, extra_one_step=False, sigma_min=0.25).schedule(4).points
    assert [point.video_sigma for point in points] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def test_shifts_move_the_levels_of_their_own_modality() -> None:
    points = Scheduler(video_shift=1.0, audio_shift=4.0).schedule(4).points
    assert len(points) == 5
    for point in points[1:-1]:
        assert point.audio_sigma == pytest.approx(4 * point.video_sigma / (1 + 3 * point.video_sigma))
    assert (points[-1].video_sigma, points[-1].audio_sigma) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no readable noise schedule"),
        ("[]", "no readable noise schedule"),
        ("{}", "no readable noise schedule"),
        ('{"shift": 0}', "holds shift 0; expected a positive number"),
        ('{"shift": 5, "audio_shift": "much"}', "holds shift 'much'"),
        ('{"shift": 5, "sigma_min": 1}', "holds sigma_min 1; expected a number from 0, below 1"),
        ('{"shift": 5, "shift_terminal": 0.1}', "holds shift_terminal 0.1; expected None, as MOVA has it"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scheduler.load(written(tmp_path, text))


def test_absence_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no readable noise schedule"):
        Scheduler.load(tmp_path)
