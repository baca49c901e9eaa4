"""What a person asks of a clip becomes settings; what cannot be is said in their words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest

from mova_core.cli import build_parser
from mova_core.config.sampling import SolverName
from mova_core.errors import UserError
from mova_core.inference.inputs import Settings
from mova_core.inference.request import SETTINGS, ClipRequest, frames_in

MEANT = Settings(
    num_steps=4, text_guidance=2.0, bridge_guidance=1.0, bridge=True, height=32, width=48, num_frames=9, fps=24.0
)


def test_what_is_not_asked_for_is_as_the_checkpoint_is_meant() -> None:
    assert ClipRequest(prompt="a lamp").settings(MEANT) == MEANT


def test_every_setting_can_be_asked_for() -> None:
    asked: dict[str, Any] = {
        "height": 64,
        "width": 80,
        "frames": 13,
        "fps": 12.0,
        "steps": 7,
        "solver": "multistep",
        "text_guidance": 3.0,
        "bridge_guidance": 3.5,
        "audio_text_guidance": 4.0,
        "audio_bridge_guidance": 1.5,
        "video_shift": 5.0,
        "audio_shift": 1.0,
        "first_frame": "masked",
    }
    assert set(asked) == set(SETTINGS)
    found = dataclasses.asdict(ClipRequest(prompt="a lamp", **asked).settings(MEANT))
    assert {name: found[own] for name, own in SETTINGS.items()} == asked


@pytest.mark.parametrize("solver", get_args(SolverName))
def test_the_command_line_takes_every_solver(solver: str) -> None:
    options = build_parser().parse_args(["generate", "--prompt", "a", "--out", "a.mp4", "--solver", solver])
    assert options.solver == solver


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(8.0, 24.0, 193), (8.05, 24.0, 193), (1.4, 24.0, 33), (0.01, 24.0, 1), (2.0, 25.0, 49)],
)
def test_seconds_are_the_nearest_length_that_can_be(seconds: float, fps: float, frames: int) -> None:
    assert frames_in(seconds, fps) == frames
    assert ClipRequest(prompt="x", seconds=seconds, fps=fps).settings(MEANT).num_frames == frames


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"frames": 9, "seconds": 1.0}, "frames and seconds are both given"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"frames": 10}, r"num_frames is 10; expected 4k\+1; 9 is the nearest below"),
        ({"height": 50}, "height is 50; expected a multiple of 16"),
        ({"bridge_guidance": -1.0}, "bridge_guidance is -1.0"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClipRequest(prompt="a lamp", **asked).settings(MEANT)


def test_files_are_described_by_content_and_count_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    request = ClipRequest(prompt="x", image=Path("a.png"), video=tmp_path / "a.png").beside(tmp_path)
    given = request.described()["given"]
    assert given["image"] == given["video"]
    assert given["image"]["file"] == "a.png"
    assert given["image"]["sha256"].startswith("7692c3ad")
