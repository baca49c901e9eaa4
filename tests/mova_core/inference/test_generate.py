"""`mova generate` in a workspace: which weights it takes, and input that fails in one line before they are loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_workspace import tiny_config, tiny_workspace

from mova_core.cli import main
from mova_core.data.media import read_clip
from mova_core.errors import UserError
from mova_core.inference.defaults import DEFAULTS_FILE, Defaults, defaults_of
from mova_core.inference.generate import find_source
from mova_core.inference.pipeline import MovaPipeline
from mova_core.workspace import Workspace


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_workspace(tmp_path_factory.mktemp("template"), tiny_config()).root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(template, tmp_path / "workspace")))


def command(workspace: Workspace, *options: str) -> list[str]:
    return ["--root", str(workspace.root), "generate", *options]


def test_a_clip_from_the_newest_checkpoint_starts_with_the_picture(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = tmp_path / "first.png", tmp_path / "clip.mp4"
    cv2.imwrite(str(picture), np.full((70, 50, 3), 200, np.uint8))
    assert main(command(workspace, "--prompt", "a ball bounces", "--image", str(picture), "--out", str(out))) == 0
    said = capsys.readouterr().out
    assert "0.38 s of 32x32 at 24 fps" in said
    assert str(Path("runs/joint3/checkpoint")) in said
    frames, waveform = read_clip(out)
    assert frames.shape == (9, 32, 32, 3)
    assert waveform.shape == (3000,)
    # A codec fitted on noise keeps of a grey picture what noise has of it.
    assert abs(frames[0].mean() - frames[4:].mean()) > 1


def test_the_same_seed_gives_the_same_file(workspace: Workspace, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.mp4" for name in ("one", "two", "other")]
    for path, seed in zip(paths, ("5", "5", "6"), strict=True):
        assert main(command(workspace, "--prompt", "a lamp", "--seed", seed, "--out", str(path))) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes() != paths[2].read_bytes()


def test_the_newest_phase_comes_first_and_brings_its_size(workspace: Workspace) -> None:
    newest = find_source(workspace, None)
    assert (newest.folder, newest.defaults.settings.width) == (workspace.run("joint3") / "checkpoint", 32)
    shutil.rmtree(workspace.run("joint3"))
    before = find_source(workspace, None)
    assert (before.folder, before.defaults.settings.width) == (workspace.run("joint2") / "checkpoint", 16)
    assert before.codecs == workspace.codecs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt", "  ", "--out", "a.mp4"), "prompt 0 is empty"),
        (("--prompt", "a lamp", "--out", "a.avi"), "--out is a.avi; expected a file that ends in .mp4"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--image", "nowhere.png"), "no picture at nowhere.png"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--text-guidance", "-1"), "text_guidance is -1.0"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--bridge-guidance", "nan"), "bridge_guidance is nan"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--steps", "0"), "num_steps is 0"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--seed", "-1"), "seed -1"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--checkpoint", "nowhere"), "no model at nowhere"),
    ],
)
def test_bad_input_is_one_line_and_no_model_is_loaded(
    workspace: Workspace,
    options: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MovaPipeline, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(command(workspace, *options)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_defaults_survive_the_disk_and_damage_is_told(tmp_path: Path) -> None:
    made = defaults_of(tiny_config(), "joint3")
    made.save(tmp_path)
    assert Defaults.load(tmp_path) == made
    (tmp_path / DEFAULTS_FILE).write_text('{"compute_dtype": "int3", "settings": {}}')
    with pytest.raises(UserError, match=r"generation_config.json does not read .*int3"):
        Defaults.load(tmp_path)
