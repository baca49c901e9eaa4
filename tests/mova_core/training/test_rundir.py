from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import tiny_config

from mova_core.config import Config
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.training.rundir import RunFolder, fingerprint, predecessor_of
from mova_core.workspace import Workspace


def test_phases_follow_each_other() -> None:
    assert [predecessor_of(phase) for phase in ("audio", "joint1", "joint2", "joint3")] == [
        None,
        "audio",
        "joint1",
        "joint2",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"train.phases.joint1.learning_rate": 1e-4},
        {"train.optimizer.matrices": "adamw"},
        {"model.boundary_ratio": 0.5},
    ],
)
def test_what_decides_what_is_learned_changes_the_fingerprint(
    change: dict[str, object], config: Config, start: Workspace
) -> None:
    assert fingerprint(tiny_config(**change), start, "joint1") != fingerprint(config, start, "joint1")


@pytest.mark.parametrize(
    "change", [{"train.engine.processes": 2}, {"train.phases.joint2.steps": 9}, {"sample.num_steps": 3}]
)
def test_the_rest_does_not(change: dict[str, object], config: Config, start: Workspace) -> None:
    assert fingerprint(tiny_config(**change), start, "joint1") == fingerprint(config, start, "joint1")


def test_other_weights_to_start_from_change_it(config: Config, start: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_text(workspace.latents / "manifest.parquet", (start.latents / "manifest.parquet").read_bytes().hex())
    prints = set()
    for weights in ("some", "others"):
        run = RunFolder(workspace.run("audio"))
        write_text(run.checkpoint / "weights", weights)
        run.finish("any", {})
        prints.add(fingerprint(config, workspace, "joint1"))
    assert len(prints) == 2


def test_without_latents_the_remedy_is_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mova encode"):
        fingerprint(config, Workspace(tmp_path), "audio")


def test_without_the_phase_before_the_remedy_is_named(config: Config, workspace: Workspace) -> None:
    with pytest.raises(UserError, match="mova train --phase joint1"):
        fingerprint(config, workspace, "joint2")


def test_a_checkpoint_without_its_mark_is_not_finished(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_text(run.checkpoint / "model_index.json", "{}")
    assert run.finished("a") is None
    run.finish("a", {"steps": 3.0})
    assert run.finished("a") == {"steps": 3.0}
    assert run.finished("b") is None


def test_a_checkpoint_cut_short_is_not_finished(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_text(run.checkpoint / "video_dit" / "weights", "whole")
    run.finish("a", {"steps": 3.0})
    assert run.finished("a") is not None
    write_text(run.checkpoint / "video_dit" / "weights", "who")
    assert run.finished("a") is None
    (run.checkpoint / "video_dit" / "weights").unlink()
    assert run.finished("a") is None


def test_a_damaged_mark_names_the_remedy(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_text(run.checkpoint / "model_index.json", "{}")
    write_text(run.summary, '{"fingerprint": "a", "figu')
    with pytest.raises(UserError, match=r"phase\.json is damaged .* delete .* to train the phase again"):
        run.finished("a")


def test_beginning_again_keeps_only_what_the_same_settings_left(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin("a")
    write_text(run.state / "step_00000002" / "meta.json", "{}")
    run.begin("a")
    assert (run.state / "step_00000002").is_dir()
    run.begin("b")
    assert not run.state.exists()


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for content in ("old", "new"):
        write_text(tmp_path / "aside" / "weights", content)
        run.install_checkpoint(tmp_path / "aside")
    assert (run.checkpoint / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
