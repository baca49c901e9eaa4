"""What Dagster's pages show of a report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy
import pytest

from mova_core.report import StageReport
from orchestration.metadata import data_version, report_metadata
from orchestration.previews import MAX_PICTURE_BYTES, MAX_PICTURES, clip_strip, pictures_as_markdown


def write_picture(path: Path, height: int, width: int, noisy: bool = False) -> None:
    shape = (height, width, 3)
    picture = numpy.full(shape, 200, dtype=numpy.uint8)
    if noisy:
        picture = numpy.random.default_rng(1).integers(0, 256, shape, dtype=numpy.uint8)
    assert cv2.imwrite(str(path), picture)


def test_counts_metrics_notes_and_paths_are_there(tmp_path: Path) -> None:
    report = StageReport("x", 5, 4, {"silent": 1}, {"loss": 0.5}, outputs=("data/x",), notes=("slow disk",))
    metadata = report_metadata(report.timed(2.0), tmp_path)
    assert metadata["seconds"].value == 2.0
    assert metadata["metric_loss"].value == 0.5
    assert metadata["output"].value == str(tmp_path / "data/x")
    assert metadata["notes"].value == "- slow disk"
    assert "previews" not in metadata


def test_small_plots_are_shown_as_they_are_and_large_ones_shrink(tmp_path: Path) -> None:
    write_picture(tmp_path / "loss.png", 40, 60)
    write_picture(tmp_path / "huge.png", 1500, 3000, noisy=True)
    text = pictures_as_markdown(tmp_path, ("loss.png", "huge.png"))
    assert "![loss](data:image/png;base64," in text
    assert "![huge](data:image/jpeg;base64," in text
    assert len(text) < MAX_PICTURE_BYTES * 4 / 3 + 2_000


def test_pages_and_missing_files_are_named_and_a_flood_is_cut(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>")
    names = tuple(f"{number}.png" for number in range(MAX_PICTURES + 3))
    for name in names:
        write_picture(tmp_path / name, 4, 4)
    text = pictures_as_markdown(tmp_path, ("report.html", "gone.png", *names))
    assert "`report.html`" in text
    assert "`gone.png` (missing)" in text
    assert text.count("data:image") == MAX_PICTURES


def test_a_clip_is_a_strip_of_frames_over_its_waveform() -> None:
    frames = numpy.zeros((9, 16, 32, 3), dtype=numpy.uint8)
    frames[..., 0] = numpy.arange(9)[:, None, None] * 28  # red rises with time
    waveform = numpy.zeros(4_800, dtype=numpy.float32)
    waveform[2_400:2_500] = 1.0
    strip = clip_strip(frames, waveform)
    width = strip.shape[1]
    assert strip.shape == (96 + 48, 6 * 192, 3)
    assert strip[50, 5, 2] == 0, "the first frame is dark, in the red channel that OpenCV keeps last"
    assert strip[50, width - 5, 2] == 224, "the last frame is there"
    loud = strip[96:, round(width * 2_450 / 4_800)]
    silent = strip[96:, 10]
    assert (loud != 255).any(axis=1).sum() > 40
    assert (silent != 255).any(axis=1).sum() <= 2


def test_a_version_follows_the_bytes_and_not_the_clock(tmp_path: Path) -> None:
    run = tmp_path / "joint1"
    (run / "checkpoint").mkdir(parents=True)
    (run / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    (run / "metrics.jsonl").write_text('{"seconds": 1}')
    first = data_version([run])
    (run / "metrics.jsonl").write_text('{"seconds": 2}')
    assert data_version([run]) == first
    (run / "checkpoint" / "model.safetensors").write_bytes(b"Weights")
    assert data_version([run]) != first


@pytest.mark.parametrize("change", ["rename", "edit", "add"])
def test_every_file_of_an_output_counts(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"a")
    first = data_version([folder])
    if change == "rename":
        (folder / "a.mp4").rename(folder / "b.mp4")
    elif change == "edit":
        (folder / "a.mp4").write_bytes(b"b")
    else:
        (folder / "b.mp4").write_bytes(b"")
    assert data_version([folder]) != first
