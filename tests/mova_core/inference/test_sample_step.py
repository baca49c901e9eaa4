"""The step `sample` on a tiny workspace: what it writes, that it resumes, that it is deterministic, how it fails."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from tiny_release import SAMPLE_RATE_HZ
from tiny_workspace import FPS, NUM_FRAMES, tiny_config, tiny_workspace

from mova_core.config import Config
from mova_core.data.manifest import read_manifest
from mova_core.data.media import probe, read_clip
from mova_core.data.records import LatentRow, Sample
from mova_core.errors import UserError
from mova_core.inference import step
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.held_out import held_out_clips, stratified
from mova_core.inference.inputs import Settings
from mova_core.inference.pipeline import MovaPipeline
from mova_core.versioning.lineage import Lineage
from mova_core.workspace import Workspace

SETS = ("joint2", "joint3", "joint3_bridge_off")
NUM_STEPS = 2
LUMA = (0.299, 0.587, 0.114)


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config(solver="multistep")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    """A workspace ready to sample, to be copied."""
    return tiny_workspace(tmp_path_factory.mktemp("template"), config).root


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, template: Path, config: Config) -> Workspace:
    """A workspace that was sampled without a disturbance; read only."""
    root = tmp_path_factory.mktemp("sampled")
    shutil.copytree(template, root, dirs_exist_ok=True)
    step.run(config, Workspace(root))
    return Workspace(root)


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(template, tmp_path / "workspace")))


def bytes_below(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(workspace: Workspace, name: str) -> list[Sample]:
    return read_manifest(workspace.samples / name / "manifest.parquet", Sample)


def test_every_set_holds_the_same_clips_and_seeds(sampled: Workspace) -> None:
    first, *others = ([(row.clip_id, row.seed, row.prompt) for row in rows_of(sampled, name)] for name in SETS)
    assert len(first) == 4
    assert all(other == first for other in others)
    assert all(row.checkpoint == "data/runs/joint3/checkpoint" for row in rows_of(sampled, "joint3"))


def test_only_held_out_clips_of_one_label_are_taken(sampled: Workspace) -> None:
    rows = read_manifest(sampled.latents / "manifest.parquet", LatentRow)
    held_out = {row.clip_id for row in rows if row.split == "val" and "+" not in row.label}
    assert {row.clip_id for row in rows_of(sampled, "joint3")} == held_out


@pytest.mark.parametrize(("name", "side"), [("joint2", 16), ("joint3", 32)])
def test_a_sample_is_an_mp4_in_exact_sync_of_the_set_s_size(sampled: Workspace, name: str, side: int) -> None:
    for row in rows_of(sampled, name):
        path = sampled.samples / name / row.path
        frames, waveform = read_clip(path)
        assert frames.shape == (NUM_FRAMES, side, side, 3)
        assert waveform.shape == (round(NUM_FRAMES / FPS * SAMPLE_RATE_HZ),)
        assert (probe(path).video_codec, probe(path).audio_codec) == ("h264", "aac")


def test_the_samples_are_what_the_pipeline_generates(sampled: Workspace, config: Config) -> None:
    clips = held_out_clips(config, sampled)
    pipeline = MovaPipeline.from_pretrained(sampled.run("joint3") / "checkpoint", sampled.codecs)
    inputs = ClipInputs(
        [clip.prompt for clip in clips],
        [clip.seed for clip in clips],
        first_frames=np.stack([clip.first_frame(32, 32) for clip in clips]),
    )
    settings = Settings(
        num_steps=NUM_STEPS,
        text_guidance=config.sample.text_guidance,
        bridge_guidance=config.sample.bridge_guidance,
        bridge=True,
        height=32,
        width=32,
        num_frames=NUM_FRAMES,
        fps=FPS,
        solver="multistep",
    )
    made = pipeline.run(inputs, settings, batch_size=config.sample.batch_size)
    other = pipeline.run(inputs, dataclasses.replace(settings, solver="euler"), batch_size=config.sample.batch_size)
    for index, clip in enumerate(clips):
        shown, heard = read_clip(sampled.samples / "joint3" / f"{clip.clip_id}.mp4")
        # Colour is stored at half the resolution, so of noise only the brightness survives.
        assert np.abs((shown - made.frames[index].astype(float)) @ LUMA).mean() < 6
        likeness = np.corrcoef(heard, made.audio[index])[0, 1]
        assert likeness > 0.8  # AAC of noise at 8 kHz, no sample late
        assert likeness > np.corrcoef(heard, other.audio[index])[0, 1]  # the other solver ends elsewhere


def test_the_bridge_makes_a_difference_where_it_is_on(sampled: Workspace) -> None:
    for row in rows_of(sampled, "joint3"):
        on = read_clip(sampled.samples / "joint3" / row.path)
        off = read_clip(sampled.samples / "joint3_bridge_off" / row.path)
        assert np.abs(on[1] - off[1]).max() > 0.01


def test_a_report_names_what_can_be_looked_at(sampled: Workspace, config: Config) -> None:
    report = step.run(config, sampled)
    assert (report.rows_in, report.rows_out) == (12, 12)
    assert "0 clips were generated" in report.notes[0]
    assert len(report.previews) == 3
    assert all((sampled.root / name).is_file() for name in (*report.previews,))


def test_a_stamp_says_from_which_data_and_weights(sampled: Workspace) -> None:
    lineage = Lineage.load(sampled.samples / "joint3")
    assert "data/clips/demo/manifest.parquet" in lineage.inputs
    assert "data/runs/joint3/checkpoint/video_dit/diffusion_pytorch_model.safetensors" in lineage.inputs


def test_a_finished_step_is_not_done_again(sampled: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bytes_below(sampled.samples)
    monkeypatch.setattr(step, "load_pipeline", lambda *_: pytest.fail("a model was loaded"))
    step.run(config, sampled)
    assert bytes_below(sampled.samples) == before


class Killed(BaseException):
    """Stands for a kill: nothing in the step handles it."""


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    workspace: Workspace, sampled: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_batch, done = MovaPipeline.generate_batch, []

    def dies_in_the_fourth_batch(*arguments: object) -> object:
        if len(done) == 3:
            raise Killed
        done.append(1)
        return generate_batch(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MovaPipeline, "generate_batch", dies_in_the_fourth_batch)
        with pytest.raises(Killed):
            step.run(config, workspace)
    half_written = workspace.samples / "joint3" / f"{'0' * 16}.mp4"
    assert half_written.is_file()
    half_written.unlink()  # as if the batch had been cut short
    report = step.run(config, workspace)
    assert "9 clips were generated" not in report.notes[0]
    assert bytes_below(workspace.samples) == bytes_below(sampled.samples)


def test_another_checkpoint_is_sampled_anew_and_the_rest_is_kept(
    workspace: Workspace, sampled: Workspace, config: Config
) -> None:
    shutil.copytree(sampled.samples, workspace.samples)
    shutil.rmtree(workspace.run("joint2"))
    shutil.copytree(workspace.run("joint3"), workspace.run("joint2"))
    kept = bytes_below(workspace.samples / "joint3")
    before = bytes_below(workspace.samples / "joint2")
    report = step.run(config, workspace)
    assert "4 clips were generated" in report.notes[0]
    assert bytes_below(workspace.samples / "joint3") == kept
    after = bytes_below(workspace.samples / "joint2")
    assert all(after[name] != before[name] for name in before if name.endswith(".mp4"))


def test_another_solver_samples_anew_and_is_told_by_row_recipe_and_lineage(
    workspace: Workspace, sampled: Workspace
) -> None:
    shutil.copytree(sampled.samples, workspace.samples)
    step.run(tiny_config(solver="euler"), workspace)
    for name in SETS:
        old, new = (folder.samples / name for folder in (sampled, workspace))
        assert ({row.solver for row in rows_of(sampled, name)}, {row.solver for row in rows_of(workspace, name)}) == (
            {"multistep"},
            {"euler"},
        )
        assert json.loads((new / "recipe.json").read_text())["sampling"]["solver"] == "euler"
        assert Lineage.load(new).config_hash != Lineage.load(old).config_hash
        assert all((old / row.path).read_bytes() != (new / row.path).read_bytes() for row in rows_of(workspace, name))


def test_a_manifest_that_names_no_solver_is_of_eulers(sampled: Workspace, tmp_path: Path) -> None:
    table = pyarrow.parquet.read_table(sampled.samples / "joint3" / "manifest.parquet")
    pyarrow.parquet.write_table(table.drop_columns(["solver"]), tmp_path / "manifest.parquet")
    assert {row.solver for row in read_manifest(tmp_path / "manifest.parquet", Sample)} == {"euler"}


def test_a_missing_checkpoint_names_the_command(workspace: Workspace, config: Config) -> None:
    shutil.rmtree(workspace.run("joint3"))
    with pytest.raises(UserError, match=r"no checkpoint at .*joint3.*mova train --phase joint3"):
        step.run(config, workspace)


def test_missing_latents_and_clips_are_one_line(workspace: Workspace, config: Config) -> None:
    clip = next((workspace.clips("demo") / "clips").iterdir())
    clip.write_bytes(b"not an mp4")
    with pytest.raises(UserError, match=r"shows no first frame"):
        step.run(config, workspace)
    (workspace.latents / "manifest.parquet").unlink()
    with pytest.raises(UserError, match=r"no manifest at .*latents"):
        step.run(config, workspace)


def test_labels_keep_their_proportions() -> None:
    rows = [
        LatentRow(f"{label}{index}", "demo", "val", label, "", "s", 0, 0)
        for label, count in (("lamp", 70), ("face", 20), ("ball", 10))
        for index in range(count)
    ]
    counts = Counter(row.label for row in stratified(rows, 24, seed=1))
    assert counts == {"lamp": 17, "face": 5, "ball": 2}
    assert stratified(rows, 24, seed=1) == stratified(rows[::-1], 24, seed=1)
    assert stratified(rows, 24, seed=2) != stratified(rows, 24, seed=1)
    assert len(stratified(rows, 1000, seed=1)) == 100


def test_an_edit_of_the_model_does_not_sample_the_older_shape_unnoticed(config: Config, sampled: Workspace) -> None:
    values = config.model_dump(mode="json")
    values["model"]["audio_dit"]["num_layers"] = 3
    before = bytes_below(sampled.samples)
    with pytest.raises(UserError, match=r"audio_dit\.num_layers is 2 in .* and 3 in params.*mova train --phase joint2"):
        step.run(Config.model_validate(values), sampled)
    assert bytes_below(sampled.samples) == before
