"""Every clip of a collection has one caption, in an order that does not depend on the run."""

from __future__ import annotations

import json

import numpy as np

from mova_core.config import Config
from mova_core.curation import caption
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.media import write_clip
from mova_core.data.records import Caption, Clip
from mova_core.workspace import Workspace


def test_every_clip_has_a_caption_from_whoever_knows_it(config: Config, workspace: Workspace) -> None:
    folder = workspace.clips("demo")
    rows = []
    for index in range(5):
        path = f"clips/c{index}.mp4"
        frames = np.full((33, 64, 64, 3), 40 * index, np.uint8)
        write_clip(folder / path, frames, np.zeros(66_000, np.float32), 24.0, 48_000)
        parts = {"visual": f"lamp {index}", "speech": "", "sound": "a bell", "music": ""}
        silence = 1.0 if index == 2 else 0.2
        rows.append(
            Clip(
                f"c{index}", "s", "demo", "train", path, 0.0, 1.375, 33, 24.0, 64, 64, 48_000, "single_sound", 0,
                0.0, silence, 8000.0, -20.0, 0.0, 0.3, 2.0, 0.5,
                truth_json=json.dumps(parts) if index < 3 else "",
            )
        )  # fmt: skip
    write_manifest(folder / "manifest.parquet", Clip, rows)
    report = caption.run(config, workspace, "demo")
    manifest = workspace.captions("demo") / "manifest.parquet"
    captions = read_manifest(manifest, Caption)
    assert [row.clip_id for row in captions] == ["c0", "c1", "c2", "c3", "c4"]
    assert [row.captioner for row in captions] == ["labels"] * 3 + ["measured"] * 2
    assert captions[0].merged == "Lamp 0. A bell."
    assert captions[2].merged == "Lamp 2."
    assert (report.rows_in, report.rows_out) == (5, 5)
    assert report.metrics["by_labels"] == 3
    assert report.notes == ("1 parts left out of prompts: sound in a silent clip",)
    before = manifest.read_bytes()
    caption.run(config, workspace, "demo")
    assert manifest.read_bytes() == before
