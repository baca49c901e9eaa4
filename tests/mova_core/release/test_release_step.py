"""The step `release`: what the folder holds, that it was verified before it got its name, kills, errors, lakeFS."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from lakefs_stand_in import serving

from mova_core.cli import main
from mova_core.config import Config
from mova_core.data.media import read_clip
from mova_core.errors import UserError
from mova_core.inference.pipeline import MovaPipeline
from mova_core.release import build, step
from mova_core.release.card import sets_in
from mova_core.release.checksums import CHECKSUMS_FILE, write_checksums
from mova_core.release.verify import verify_release
from mova_core.versioning.lineage import Lineage
from mova_core.workspace import Workspace


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_stands_alone(folder: Path) -> None:
    demo = json.loads((folder / "demo" / "demo.json").read_text())
    picture = cv2.cvtColor(cv2.imread(str(folder / demo["first_frame"])), cv2.COLOR_BGR2RGB)
    pipeline = MovaPipeline.from_pretrained(folder)
    made = pipeline(demo["prompt"], picture, seed=demo["seed"])
    assert {name: demo[name] for name in dataclasses.asdict(made.settings)} == dataclasses.asdict(made.settings)
    assert made.settings.solver == "multistep"
    shown, heard = read_clip(folder / "demo" / "clip.mp4")
    assert shown.shape == made.frames[0].shape
    assert heard.shape == made.audio[0].shape
    assert np.abs((shown - made.frames[0].astype(float)) @ (0.299, 0.587, 0.114)).mean() < 8


def test_the_index_names_every_part(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["video_vae"] == ["mova_core.codecs", "NanoVideoCodec"]
    assert index["text_encoder"] == ["transformers", "BertModel"]
    assert index["scheduler"] == ["mova_core.diffusion.scheduler", "FlowMatchPairScheduler"]
    for name, entry in index.items():
        if isinstance(entry, list):
            assert (folder / name).is_dir()


def test_the_card_states_figures_data_licence_and_credits(folder: Path, config: Config) -> None:
    card = (folder / "README.md").read_text()
    assert "| joint3 | 4 | 38 | 0.71 | 0.17 | 29 |" in card
    assert "| codec_audio_snr_db | 22.8 |" in card
    assert card.count("codec_32x32") == 1, "a set's figures stand in the sets' table only"
    assert "| demo | lamp | val | 3 |" in card
    assert "license: apache-2.0" in card
    assert all(credit in card for credit in config.release.credits)
    assert Lineage.load(folder).data_commit in card
    assert (folder / "LICENSE").read_text().lstrip().startswith("Apache License")
    for name in ("samples.png", "demo/clip.mp4"):
        assert f"({name})" in card
        assert (folder / name).is_file()


def test_the_figures_of_a_class_are_no_set(folder: Path) -> None:
    metrics = {"joint3_clips": 4.0, "joint3_visible_events": 3.0, "joint3_lamp_visible_events": 2.0}
    assert sets_in(metrics) == ["joint3"]


def test_a_second_release_leaves_the_first_as_it_is(
    released: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_below(released.release)
    monkeypatch.setattr(step, "_make", lambda *_: pytest.fail("it was built again"))
    report = step.run(config, released)
    assert "there already" in report.notes[0]
    assert bytes_below(released.release) == before


def test_equal_inputs_give_equal_releases(workspace: Workspace, released: Workspace, config: Config) -> None:
    step.run(config, workspace)
    assert bytes_below(workspace.release) == bytes_below(released.release)


def test_a_damaged_release_is_built_again(workspace: Workspace, released: Workspace, config: Config) -> None:
    shutil.copytree(released.release, workspace.release)
    (workspace.release / "README.md").write_text("scribble")
    step.run(config, workspace)
    assert verify_release(workspace.release) == []


class Killed(BaseException):
    """Stands for a kill: nothing in the step handles it."""


@pytest.mark.parametrize("moment", ["write_checksums", "flush_to_disk"])
def test_a_kill_while_building_leaves_the_release_before(
    workspace: Workspace, released: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    shutil.copytree(released.release, workspace.release)
    (workspace.evaluation / "metrics.json").write_text(json.dumps({"joint3_clips": 1.0, "joint3_visible_events": 1.0}))

    def dies(_: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(build, moment, dies)
        with pytest.raises(Killed):
            step.run(config, workspace)
    assert bytes_below(workspace.release) == bytes_below(released.release)
    step.run(config, workspace)
    assert verify_release(workspace.release) == []
    assert "| joint3 | 1 | 1 |" in (workspace.release / "README.md").read_text()
    assert sorted(path.name for path in workspace.data.iterdir() if path.name.startswith(".")) == []


def test_a_kill_between_the_two_names_loses_nothing(workspace: Workspace, released: Workspace, config: Config) -> None:
    shutil.copytree(released.release, workspace.data / step.REPLACED)
    report = step.run(config, workspace)
    assert "there already" in report.notes[0]
    assert bytes_below(workspace.release) == bytes_below(released.release)


def test_a_release_that_behaves_otherwise_gets_no_name(
    workspace: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of another model, with checksums to match: only sampling from the folder can tell."""

    def mixes_up_the_weights(folder: Path, contents: build.Contents) -> None:
        build.build(folder, contents)
        other = workspace.run("joint2") / "checkpoint" / "audio_dit" / "diffusion_pytorch_model.safetensors"
        shutil.copyfile(other, folder / "audio_dit" / "diffusion_pytorch_model.safetensors")
        write_checksums(folder)

    monkeypatch.setattr(step, "build", mixes_up_the_weights)
    with pytest.raises(UserError, match=r"does not verify \(a sample from it differs"):
        step.run(config, workspace)
    assert not workspace.release.exists()


def test_what_is_missing_names_the_command(workspace: Workspace, config: Config) -> None:
    shutil.rmtree(workspace.samples)
    with pytest.raises(UserError, match=r"no samples at .*mova sample"):
        step.run(config, workspace)
    shutil.rmtree(workspace.evaluation)
    with pytest.raises(UserError, match=r"no readable evaluation at .*mova evaluate"):
        step.run(config, workspace)
    shutil.rmtree(workspace.run("joint3"))
    with pytest.raises(UserError, match=r"mova train --phase joint3"):
        step.run(config, workspace)


def test_a_sample_set_that_cannot_be_shown_is_refused(workspace: Workspace, config: Config) -> None:
    wrong = config.model_copy(update={"release": config.release.model_copy(update={"sample_set": "joint2"})})
    with pytest.raises(UserError, match=r"release.sample_set is 'joint2'; expected a set of phase joint3"):
        step.run(wrong, workspace)


def test_lakefs_holds_data_and_release_and_tags_it(
    workspace: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(monkeypatch, tmp_path) as server:
        report = step.run(config, workspace)
        step.run(config, workspace)
    assert "tagged mova-nano-0.1" in report.notes[-1]
    trunk = server.commits[server.tags["mova-nano-0.1"]]
    assert "data/clips/demo/manifest.parquet" in trunk
    assert f"data/release/{CHECKSUMS_FILE}" in trunk
    assert Lineage.load(workspace.release).lakefs_commit == "lineage@commit1"
    assert [call for call in server.calls if not call.endswith("/objects")] == [
        "POST branches",
        f"POST branches/run-{Lineage.load(workspace.release).data_commit}/commits",
        f"POST branches/run-{Lineage.load(workspace.release).data_commit}/commits",
        f"POST refs/run-{Lineage.load(workspace.release).data_commit}/merge/main",
        "POST tags",
        "POST branches",
        "POST tags",
    ]


def test_without_lakefs_the_report_says_that_it_is_off(released: Workspace, config: Config) -> None:
    assert "lakeFS is off" in step.run(config, released).notes[-1]


def test_generate_takes_a_release_without_any_configuration(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips" / "clip.mp4"
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ["--root", str(empty), "generate", "--prompt", "a lamp flashes", "--out", str(out)]
    assert main([*options, "--checkpoint", str(folder), "--seed", "3", "--steps", "1"]) == 0
    said = capsys.readouterr().out
    assert "seed 3, 1 steps of multistep, text guidance 2, Bridge guidance 2" in said
    frames, _ = read_clip(out)
    assert frames.shape == (9, 32, 32, 3)
    assert main(options) == 2
    assert "no checkpoint and no release" in capsys.readouterr().err
