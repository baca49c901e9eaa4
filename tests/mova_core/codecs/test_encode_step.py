"""The `encode` step on a small workspace: what it writes, and that it goes on where it was stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_release import tiny_text_encoder

from mova_core.codecs import caching, step
from mova_core.codecs.arrays import audio_tensor, encode_clip_arrays, video_tensor
from mova_core.codecs.base import load_codecs
from mova_core.config import Config, parse_config, preset_text, save_config
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.media import read_clip, write_clip
from mova_core.data.records import Caption, Clip, LatentRow
from mova_core.data.shards import LatentStore
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.workspace import Workspace

COLLECTIONS = ("lamps", "bells")
CLIPS_PER_COLLECTION = 7


def small_config(text_folder: Path, **encode: Any) -> Config:
    values = yaml.safe_load(preset_text("nano"))
    values["collections"] = list(COLLECTIONS)
    values["encode"].update(clips_per_shard=3, fit_clips=8, quality_clips=2, text={"folder": str(text_folder)})
    values["encode"]["audio"]["fit"]["latent_channels"] = 24
    values["encode"].update(encode)
    return parse_config(yaml.safe_dump(values), source="test")


def clip_row(clip_id: str, collection: str, number: int) -> Clip:
    return Clip(
        clip_id=clip_id,
        source_id=f"source{number}",
        collection=collection,
        split="val" if number == 0 else "train",
        path=f"clips/{clip_id}.mp4",
        start_seconds=0.0,
        duration_seconds=1.375,
        num_frames=33,
        fps=24.0,
        width=64,
        height=64,
        sample_rate_hz=48000,
        kind="single_sound",
        num_cuts=0,
        speech_ratio=0.0,
        silence_ratio=0.1,
        bandwidth_hz=8000.0,
        loudness_lufs=-24.0 - number,
        clipping_ratio=0.0,
        blur=1.0,
        motion=1.0,
        av_onset_agreement=1.0,
        label="lamp",
        phases=["audio", "joint1"],
    )


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    tiny_text_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def curated(train_clips: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections of seven clips; ids run against the order of writing."""
    workspace = Workspace(tmp_path_factory.mktemp("curated"))
    for place, collection in enumerate(COLLECTIONS):
        rows, captions = [], []
        for number in range(CLIPS_PER_COLLECTION):
            clip_id = f"{collection[0]}{CLIPS_PER_COLLECTION - number}"
            source = train_clips[place * CLIPS_PER_COLLECTION + number]
            rows.append(clip_row(clip_id, collection, number))
            write_clip(workspace.clips(collection) / rows[-1].path, source.frames, source.waveform, 24.0, 48000)
            prompt = "" if number == 3 else f"a lamp flashes with {'a bell' if number % 2 else 'the ball'}"
            captions.append(Caption(clip_id, collection, "", "", "", "", prompt, "labels"))
        write_manifest(workspace.clips(collection) / "manifest.parquet", Clip, rows)
        write_manifest(workspace.captions(collection) / "manifest.parquet", Caption, captions)
    return workspace.root


@pytest.fixture(scope="module")
def encoded(curated: Path, text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An undisturbed run."""
    workspace = Workspace(tmp_path_factory.mktemp("encoded") / "root")
    shutil.copytree(curated, workspace.root)
    step.run(small_config(text_folder), workspace)
    return workspace


@pytest.fixture
def again(encoded: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the undisturbed run, to spoil."""
    shutil.copytree(encoded.root, tmp_path / "root")
    return Workspace(tmp_path / "root")


def contents(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.latents
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_are_sorted_and_say_where_everything_lies(encoded: Workspace) -> None:
    rows = read_manifest(encoded.latents / "manifest.parquet", LatentRow)
    assert [row.clip_id for row in rows] == [f"{name}{number}" for name in "bl" for number in range(1, 8)]
    assert [row.row for row in rows] == [0, 1, 2, 0, 1, 2, 0] * 2
    assert sorted({row.shard for row in rows}) == [
        f"{c}-0000{n}.safetensors" for c in sorted(COLLECTIONS) for n in "012"
    ]
    assert {row.caption: row.text_row for row in rows} == {
        "": 0,
        "a lamp flashes with a bell": 1,
        "a lamp flashes with the ball": 2,
    }
    assert {row.split for row in rows if row.clip_id in ("b7", "l7")} == {"val"}
    assert rows[0].phases == ["audio", "joint1"]


def test_the_store_gives_what_the_saved_codecs_make_of_the_clips(encoded: Workspace) -> None:
    codecs = load_codecs(encoded.codecs)
    store = LatentStore(encoded.latents)
    frames, waveform = read_clip(encoded.clips("lamps") / "clips" / "l5.mp4")
    index = [row.clip_id for row in store.rows].index("l5")
    loudness = -24.0 - 2
    gain = min(10 ** ((-20.0 - loudness) / 20), 1 / float(np.abs(waveform).max()))
    for resolution in ((32, 32), (64, 64)):
        batch = store.batch([index], resolution, loudness_normalised=False)
        latents = encode_clip_arrays(codecs, frames[None], waveform[None], resolution)
        torch.testing.assert_close(batch.video, latents.video, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(batch.audio, latents.audio, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(batch.first_frame[:, :, 0], latents.video[:, :, 0], rtol=1e-3, atol=1e-3)
    given = codecs.video.encode_first_frame(video_tensor(frames[None])[:, :, :1], 33)
    torch.testing.assert_close(batch.first_frame, given, rtol=1e-3, atol=1e-3)
    levelled = store.batch([index], (64, 64), loudness_normalised=True).audio
    expected = codecs.audio.encode(audio_tensor((waveform * np.float32(gain))[None]))
    torch.testing.assert_close(levelled, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(store.null_text, codecs.text.encode([""])[0][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(batch.text, codecs.text.encode([store.rows[index].caption])[0], rtol=1e-3, atol=1e-3)


def test_the_report_states_counts_and_quality(encoded: Workspace, text_folder: Path) -> None:
    report = step.run(small_config(text_folder), encoded)
    assert (report.rows_in, report.rows_out) == (14, 14)
    assert report.metrics["psnr_db_64x64"] > 30
    assert report.metrics["audio_snr_db"] > 12
    assert report.metrics["prompts"] == 3
    assert report.previews == ("data/latents/preview.png",)
    assert (encoded.root / report.previews[0]).read_bytes().startswith(b"\x89PNG")


def test_a_second_run_touches_nothing(again: Workspace, text_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in again.latents.rglob("*")}
    step.run(small_config(text_folder), again)
    assert {path: path.stat().st_mtime_ns for path in again.latents.rglob("*")} == before


@pytest.mark.parametrize("completed", [0, 1, 4])
def test_a_run_that_is_stopped_between_shards_ends_with_the_same_bytes(
    encoded: Workspace,
    curated: Path,
    text_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    completed: int,
) -> None:
    workspace = Workspace(tmp_path / "root")
    shutil.copytree(curated, workspace.root)
    written: list[Path] = []
    write_shard = caching.write_shard

    def stops(path: Path, tensors: dict[str, torch.Tensor], fingerprint: str) -> None:
        if len(written) == completed:
            raise KeyboardInterrupt
        written.append(path)
        write_shard(path, tensors, fingerprint)

    monkeypatch.setattr(caching, "write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        step.run(small_config(text_folder), workspace)
    assert not (workspace.latents / "manifest.parquet").exists()
    kept = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(caching, "write_shard", write_shard)
    step.run(small_config(text_folder), workspace)
    assert {path: path.stat().st_mtime_ns for path in written} == kept
    assert contents(workspace) == contents(encoded)


@pytest.mark.parametrize(
    "lost",
    [
        "manifest.parquet",
        "shards/lamps-00001.safetensors",
        "shards/text.safetensors",
        "codecs/fingerprint.json",
        "codecs/audio_vae/diffusion_pytorch_model.safetensors",
        "quality.json",
    ],
)
def test_whatever_is_missing_is_made_again_alike(
    again: Workspace, encoded: Workspace, text_folder: Path, lost: str
) -> None:
    (again.latents / lost).unlink()
    step.run(small_config(text_folder), again)
    assert contents(again) == contents(encoded)


def test_a_new_caption_changes_the_table_and_no_shard(again: Workspace, text_folder: Path) -> None:
    path = again.captions("bells") / "manifest.parquet"
    captions = read_manifest(path, Caption)
    write_manifest(path, Caption, [replace(captions[0], merged="the wheel hums"), *captions[1:]])
    before = contents(again)
    step.run(small_config(text_folder), again)
    after = contents(again)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"manifest.parquet", "quality.json", "shards/text.safetensors"}
    store = LatentStore(again.latents)
    encoder = load_codecs(again.codecs).text
    index = [row.caption for row in store.rows].index("the wheel hums")
    text = store.batch([index], (32, 32), loudness_normalised=False).text
    torch.testing.assert_close(text, encoder.encode(["the wheel hums"])[0], rtol=1e-3, atol=1e-3)


def test_shards_that_nothing_names_any_more_are_taken_away(again: Workspace, text_folder: Path) -> None:
    config = small_config(text_folder)
    fewer = config.model_copy(update={"collections": ("bells",)})
    report = step.run(fewer, again)
    assert report.rows_out == CLIPS_PER_COLLECTION
    names = sorted(path.name for path in (again.latents / "shards").iterdir())
    assert names == [f"bells-0000{number}.safetensors" for number in range(3)] + ["text.safetensors"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: (w.clips("bells") / "clips" / "b1.mp4").unlink(), r"no clip at .*b1\.mp4.*mova curate"),
        (lambda w: (w.clips("bells") / "clips" / "b1.mp4").write_bytes(b"?"), r"b1\.mp4 does not decode"),
        (lambda w: (w.captions("bells") / "manifest.parquet").unlink(), "no manifest"),
        (
            lambda w: _rewrite(w, lambda rows: [replace(rows[0], num_frames=49), *rows[1:]]),
            "as the `media` section says",
        ),
        (lambda w: _rewrite(w, lambda rows: [replace(rows[0], clip_id="new"), *rows[1:]]), "clip new .*no caption"),
        (lambda w: _rewrite(w, lambda rows: [replace(row, split="val") for row in rows]), "no clip of the train split"),
        (lambda w: _rewrite(w, lambda rows: []), "no clip in any of the collections"),
    ],
)
def test_bad_input_is_one_sentence_with_its_remedy(
    curated: Path, text_folder: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    workspace = Workspace(tmp_path / "root")
    shutil.copytree(curated, workspace.root)
    spoil(workspace)
    config = small_config(text_folder).model_copy(update={"collections": ("bells",)})
    with pytest.raises(UserError, match=message):
        step.run(config, workspace)


def test_settings_that_cannot_be_met_are_named(curated: Path, text_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(curated)
    with pytest.raises(UserError, match=r"encode\.resolutions holds 128x64"):
        step.run(small_config(text_folder, resolutions=[[128, 64]]), workspace)
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        step.run(small_config(tmp_path / "nowhere"), workspace)


def test_codecs_are_taken_from_a_folder_and_never_from_the_own_output(
    again: Workspace, encoded: Workspace, text_folder: Path
) -> None:
    shutil.copytree(again.codecs, again.root / "mine")
    config = small_config(text_folder, video={"folder": "mine/video_vae"}, audio={"folder": "mine/audio_vae"})
    step.run(config, again)
    before, after = contents(encoded), contents(again)
    assert {name: after[name] for name in after if "_vae" in name} == {
        name: before[name] for name in before if "_vae" in name
    }
    found, expected = LatentStore(again.latents), LatentStore(encoded.latents)
    indices = range(len(expected.rows))
    assert torch.equal(
        found.batch(indices, (64, 64), loudness_normalised=True).video,
        expected.batch(indices, (64, 64), loudness_normalised=True).video,
    )
    with pytest.raises(UserError, match=r"which is its own output.*copy it elsewhere"):
        step.run(small_config(text_folder, video={"folder": "data/latents/codecs/video_vae"}), again)
    assert contents(again) == after


def _rewrite(workspace: Workspace, change: Any) -> None:
    for collection in COLLECTIONS:
        path = workspace.clips(collection) / "manifest.parquet"
        write_manifest(path, Clip, change(read_manifest(path, Clip)))


RUN = """
import sys
from pathlib import Path
from mova_core.codecs.step import run
from mova_core.config import load_config
from mova_core.workspace import Workspace

if __name__ == "__main__":
    workspace = Workspace(Path(sys.argv[1]))
    run(load_config(workspace.params), workspace)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["video_vae", "bells-00001.safetensors", "text.safetensors"])
def test_killed_and_run_again_ends_with_the_same_bytes(
    encoded: Workspace, curated: Path, text_folder: Path, tmp_path: Path, sign: str
) -> None:
    """SIGKILL as soon as the file or folder `sign` is there."""
    workspace = Workspace(tmp_path / "root")
    shutil.copytree(curated, workspace.root)
    save_config(small_config(text_folder), workspace.params)
    write_text(tmp_path / "run.py", RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(workspace.root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(workspace.data.glob(f"latents/*/{sign}")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (workspace.latents / "manifest.parquet").exists()
    step.run(small_config(text_folder), workspace)
    assert contents(workspace) == contents(encoded)
