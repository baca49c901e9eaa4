"""`mova bench solvers`: the figures say how far from the reference each solver is, and which of them is nearer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_workspace import tiny_config, tiny_workspace

from mova_core.bench.solvers import FIGURE_FILE, RESULT_FILE, SolverBench, errors, steps_to_reach
from mova_core.cli import main
from mova_core.errors import UserError


def test_the_command_writes_curves_that_fall_and_their_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tiny_workspace(tmp_path / "workspace", tiny_config())
    options = ["--clips", "2", "--steps", "8", "2", "--reference-steps", "24", "--out", str(tmp_path / "out")]
    options += ["--shift", "3", "--text-guidance", "1.5"]
    assert main(["--root", str(workspace.root), "bench", "solvers", *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["wrote"] == [str(tmp_path / "out" / name) for name in (RESULT_FILE, FIGURE_FILE)]
    result = json.loads((tmp_path / "out" / RESULT_FILE).read_text())
    assert len(result["clips"]) == 2
    assert result["shifts"] == {"video": 3.0, "audio": 3.0}
    assert (result["settings"]["text_guidance"], result["settings"]["bridge_guidance"]) == (1.5, 2.0)
    for solver in ("euler", "multistep"):
        for modality in ("video", "audio"):
            entries = result["curves"][solver][modality]
            assert [entry["steps"] for entry in entries] == [2, 8]
            assert entries[0]["error"] > 2 * entries[1]["error"] > 0
            assert all(entry["lower_quartile"] <= entry["error"] <= entry["upper_quartile"] for entry in entries)
    assert (tmp_path / "out" / FIGURE_FILE).read_bytes().startswith(b"\x89PNG")


def test_an_error_is_relative_to_the_clip_s_own_size() -> None:
    exact = torch.stack((torch.ones(3, 4), 10 * torch.ones(3, 4)))
    torch.testing.assert_close(
        errors(exact * 1.1, exact), torch.full((2,), 0.1, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_steps_are_counted_from_where_both_modalities_stay_below() -> None:
    def curve(*values: float) -> list[dict[str, float]]:
        return [{"steps": steps, "error": value} for steps, value in zip((5, 10, 50), values, strict=True)]

    curves = {
        "euler": {"video": curve(9, 5, 1), "audio": curve(9, 5, 2)},
        "better": {"video": curve(0.5, 0.9, 0.1), "audio": curve(3, 1, 0.1)},
        "worse": {"video": curve(9, 5, 1.5), "audio": curve(1, 1, 1)},
    }
    assert steps_to_reach(curves, 50) == {"euler": 50, "better": 10, "worse": None}


@pytest.mark.parametrize("change", [{"num_clips": 0}, {"reference_steps": 50}, {"step_counts": (0, 4)}])
def test_numbers_that_measure_nothing_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(UserError):
        SolverBench(**change)
