from __future__ import annotations

import json
from pathlib import Path

import pytest

from mova_core.training.metrics import MetricsFile, draw_curves, read_metrics, smoothed


def lines(*steps: int) -> list[dict[str, object]]:
    return [{"step": step, "video_loss": 1.0 / step, "audio_loss": 2.0 / step, "learning_rate": 1e-3} for step in steps]


def test_going_on_drops_the_lines_that_will_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0).add(lines(1, 2, 3, 4))
    again = MetricsFile(path, 2)
    again.add(lines(3))
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3]


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(lines(1)[0]) + "\ngar{bage\n" + '{"step": 2, "vid')
    assert [line["step"] for line in read_metrics(path)] == [1]


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 2.0])[0] == 1.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    records = lines(*range(1, 30))
    records[9]["validation_video_loss"] = 0.5
    MetricsFile(path, 0).add(records)
    for name in ("once.png", "twice.png"):
        draw_curves(path, tmp_path / name, "phase joint1")
    content = (tmp_path / "once.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5000
    assert content == (tmp_path / "twice.png").read_bytes()
