"""The whole step on six known clips: figures, page, errors, and the same bytes again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mova_core.errors import UserError
from mova_core.evaluation.step import run
from mova_core.workspace import Workspace

SECTIONS = (
    "headline",
    "offsets",
    "classes",
    "clips",
    "training",
    "losses",
    "measures",
    "detectors",
    "limits",
    "provenance",
)
VOID_TAGS = {"meta", "link", "br", "img", "input", "path", "use", "rect"}


class Balance(HTMLParser):
    """Fails where a tag is closed that is not open; collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.num_videos = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "poster")]
        self.num_videos += tag == "video"
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID_TAGS:
            return
        assert self.open
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()


def report_of(workspace: Workspace) -> str:
    return (workspace.evaluation / "report.html").read_text(encoding="utf-8")


def metrics_of(workspace: Workspace) -> dict[str, float]:
    values: dict[str, float] = json.loads((workspace.evaluation / "metrics.json").read_text(encoding="utf-8"))
    return values


def test_good_samples_score_full_and_late_ones_nothing(evaluated: Any) -> None:
    _, workspace, report = evaluated
    metrics = metrics_of(workspace)
    assert metrics["joint2_within_one_frame"] == 1.0
    assert metrics["joint2_bridge_off_within_one_frame"] == 0.0
    assert metrics["joint2_bridge_off_median_abs_ms"] == pytest.approx(200, abs=15)
    assert metrics["real_within_one_frame"] == 1.0
    assert metrics["joint2_visible_events"] == 8
    assert metrics["detector_lamp_audio_within_one_frame"] == 1.0
    assert report.metrics["joint2_within_one_frame"] == 1.0
    assert report.rows_in == report.rows_out == 12


def test_metrics_are_flat_numbers_by_name(evaluated: Any) -> None:
    _, workspace, _ = evaluated
    metrics = metrics_of(workspace)
    assert list(metrics) == sorted(metrics)
    assert all(isinstance(value, int | float) for value in metrics.values())
    for name in ("codec_32x32_video_psnr_db", "codec_audio_snr_db", "joint2_video_loss", "joint2_audio_loss_gain"):
        assert name in metrics
    assert metrics["joint2_lamp_visible_events"] + metrics["joint2_face_visible_events"] == 8


def test_the_report_is_one_sound_file_that_fetches_nothing(evaluated: Any) -> None:
    _, workspace, _ = evaluated
    page = report_of(workspace)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert all(address.startswith(("data:", "#")) for address in parser.fetched), parser.fetched
    without_data = re.sub(r"data:[^\"]*", "", page)
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'<]*", without_data))
    # Names of XML vocabularies, which nobody fetches.
    assert {address for address in addresses if "www.w3.org" not in address} == set()
    assert "@import" not in page
    assert "url(http" not in page


def test_the_report_has_every_section_and_every_clip(evaluated: Any) -> None:
    config, workspace, _ = evaluated
    page = report_of(workspace)
    assert re.findall(r'<section id="(\w+)"', page) == list(SECTIONS)
    parser = Balance()
    parser.feed(page)
    num_columns = 1 + len(config.sample.sets)
    assert parser.num_videos == 3 * num_columns
    assert "<svg" in page[page.index('id="offsets"') : page.index('id="classes"')]
    assert "a lamp &lt;b&gt;&amp;" in page


def test_what_cannot_be_measured_is_said(evaluated: Any) -> None:
    _, workspace, report = evaluated
    assert len(report.notes) == 1
    assert "1 of 6 held-out clips" in report.notes[0]
    assert "lamp+face" in report.notes[0]
    assert report.notes[0] in report_of(workspace)


def test_previews_and_lineage_are_there(evaluated: Any) -> None:
    _, workspace, report = evaluated
    for preview in report.previews:
        assert (workspace.root / preview).stat().st_size > 1000
    assert {Path(preview).suffix for preview in report.previews} == {".png", ".html"}
    inputs = json.loads((workspace.evaluation / "lineage.json").read_text(encoding="utf-8"))["inputs"]
    assert "data/samples/joint2/manifest.parquet" in inputs
    assert any(name.startswith("data/runs/joint2/checkpoint/") for name in inputs)


def test_a_second_run_writes_the_same_bytes(evaluated: Any) -> None:
    config, workspace, _ = evaluated
    names = ("metrics.json", "offsets_joint2.png", "training.png")

    def written() -> list[bytes]:
        # The page ends with the stamp of the code, which may change between two runs while somebody works on it.
        page = report_of(workspace).split('<section id="provenance">')[0].encode()
        return [page, *((workspace.evaluation / name).read_bytes() for name in names)]

    before = written()
    run(config, workspace)
    assert written() == before


def test_samples_that_were_not_made_are_asked_for(evaluated: Any, tmp_path: Path) -> None:
    config, _, _ = evaluated
    with pytest.raises(UserError, match=r"no manifest at .*joint2"):
        run(config, Workspace(tmp_path))


def test_samples_of_clips_that_are_gone_are_refused(evaluated: Any, tmp_path: Path) -> None:
    from mova_core.data.manifest import read_manifest, write_manifest
    from mova_core.data.records import Clip

    config, workspace, _ = evaluated
    moved = tmp_path / "data"
    moved.mkdir()
    (moved / "samples").symlink_to(workspace.samples)
    (moved / "latents").symlink_to(workspace.latents)
    clips = read_manifest(workspace.clips("demo") / "manifest.parquet", Clip)
    write_manifest(moved / "clips" / "demo" / "manifest.parquet", Clip, clips[1:])
    with pytest.raises(UserError, match=r"1 of 6 sampled clips are in no collection.*run `mova sample` again"):
        run(config, Workspace(tmp_path))
