"""`mova generate` in a workspace: which weights it takes, and input that fails in one line before they are loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import wavfile
from tiny_workspace import tiny_config, tiny_workspace

from mova_core import __version__
from mova_core.cli import main
from mova_core.data.media import read_clip, write_clip
from mova_core.errors import UserError
from mova_core.inference.defaults import DEFAULTS_FILE, Defaults, defaults_of
from mova_core.inference.identity import identify
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.saving import read_record
from mova_core.inference.source import find_source
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


def test_a_memory_mode_is_said_and_changes_nothing_in_the_clip(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = []
    for memory in ("resident", "stream"):
        out = tmp_path / f"{memory}.mp4"
        assert main(command(workspace, "--prompt", "a ball", "--memory", memory, "--out", str(out))) == 0
        assert f"{memory} is used" in capsys.readouterr().err
        clips.append(read_clip(out))
    np.testing.assert_array_equal(clips[0][0], clips[1][0])
    np.testing.assert_array_equal(clips[0][1], clips[1][1])


def test_the_newest_phase_comes_first_and_brings_its_size(workspace: Workspace) -> None:
    newest = find_source(workspace, None)
    assert (newest.folder, newest.defaults.settings.width) == (workspace.run("joint3") / "checkpoint", 32)
    shutil.rmtree(workspace.run("joint3"))
    before = find_source(workspace, None)
    assert (before.folder, before.defaults.settings.width) == (workspace.run("joint2") / "checkpoint", 16)
    assert before.codecs == workspace.codecs


def test_the_clip_says_how_it_was_made(workspace: Workspace, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    options = [
        "--prompt",
        "a ball  bounces",
        "--negative-prompt",
        "a bell",
        "--seed",
        "7",
        "--checkpoint",
        str(checkpoint),
    ]
    sizes = ["--height", "32", "--width", "48", "--frames", "9", "--steps", "2", "--bridge-guidance", "2.5"]
    assert main(command(workspace, *options, *sizes, "--lossless-audio", "--out", str(out))) == 0
    inside, beside = read_record(out), json.loads((tmp_path / "clip.mp4.json").read_text())
    assert inside.items() <= beside.items()
    assert (inside["prompt"], inside["negative_prompt"], inside["seed"]) == ("a ball  bounces", "a bell", 7)
    assert {"num_steps": 2, "bridge_guidance": 2.5, "width": 48}.items() <= inside["settings"].items()
    identity = identify(checkpoint)
    assert (inside["model"]["model_hash"], inside["model"]["config_hash"]) == (
        identity.model_hash,
        identity.config_hash,
    )
    assert inside["version"] == __version__
    assert beside["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (beside["run"]["num_frames"], beside["run"]["num_samples"]) == (9, 3000)
    assert str(tmp_path) not in out.read_bytes().decode("latin-1")
    rate, lossless = wavfile.read(tmp_path / "clip.mp4.wav")
    _, lossy = read_clip(out)
    assert (rate, lossless.dtype, lossless.shape) == (8000, np.float32, (3000,))
    assert 0 < np.abs(lossless - lossy).max() < 0.5


def test_a_clip_can_be_made_again_from_what_it_says(workspace: Workspace, tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    assert (
        main(command(workspace, "--prompt", "a lamp", "--seed", "3", "--solver", "multistep", "--out", str(one))) == 0
    )
    said = read_record(one)
    options = {"--prompt": said["prompt"], "--seed": said["seed"], "--solver": said["settings"]["solver"]}
    words = [str(word) for pair in options.items() for word in pair]
    assert main(command(workspace, *words, "--out", str(two))) == 0
    assert one.read_bytes() == two.read_bytes()


def test_a_folder_without_defaults_is_used_as_the_report_says(workspace: Workspace, checkpoint: Path) -> None:
    meant = find_source(Workspace(workspace.root / "nowhere"), checkpoint).defaults.settings
    assert (meant.height, meant.width, meant.num_frames) == (352, 640, 193)
    assert (meant.num_steps, meant.solver) == (50, "euler")


def test_defaults_come_from_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "release"))
    defaults_of(tiny_config(), "joint3").save(folder)
    assert main(["generate", "--checkpoint", str(folder), "--prompt", "a lamp", "--out", str(tmp_path / "a.mp4")]) == 0
    assert read_clip(tmp_path / "a.mp4")[0].shape == (9, 32, 32, 3)


def test_previews_are_written_while_denoising(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, seen = tmp_path / "clip.mp4", []
    decode = MovaPipeline.decode_video

    def watched(pipeline: MovaPipeline, latents: object) -> object:
        seen.append((tmp_path / "clip.mp4.preview.png").exists())
        return decode(pipeline, latents)  # type: ignore[arg-type]

    monkeypatch.setattr(MovaPipeline, "decode_video", watched)
    options = ("--prompt", "a lamp", "--steps", "5", "--preview-every", "2", "--out", str(out))
    assert main(command(workspace, *options)) == 0
    assert seen == [False, True, True]  # after steps 2 and 4, and at the end
    assert cv2.imread(str(tmp_path / "clip.mp4.preview.png")) is not None
    said = capsys.readouterr().err
    assert "preview after step 4" in said
    assert "denoise: 5/5" in said


def test_a_video_is_given_a_sound_and_keeps_its_frames(workspace: Workspace, tmp_path: Path) -> None:
    given, out = tmp_path / "given.mp4", tmp_path / "out.mp4"
    levels = np.linspace(40, 200, 12).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (12, 48, 48, 3)).copy()
    write_clip(given, frames, np.zeros(4000, np.float32), 24.0, 8000)
    assert main(command(workspace, "--prompt", "a lamp", "--video", str(given), "--out", str(out))) == 0
    found, sound = read_clip(out)
    assert np.abs(found.mean(axis=(1, 2, 3)) - levels[:9]).max() < 2
    assert np.abs(sound).max() > 0.001


def test_a_sound_is_given_pictures_and_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    given, out = tmp_path / "given.wav", tmp_path / "out.mp4"
    wave = (0.4 * np.sin(np.arange(8000) * 0.3)).astype(np.float32)
    wavfile.write(given, 8000, wave)
    options = ("--prompt", "a lamp", "--audio", str(given), "--lossless-audio", "--out", str(out))
    assert main(command(workspace, *options)) == 0
    kept = wavfile.read(tmp_path / "out.mp4.wav")[1]
    assert np.abs(kept - wave[:3000]).max() < 1e-6


def test_a_clip_goes_on_and_begins_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    given, out = tmp_path / "given.mp4", tmp_path / "out.mp4"
    levels = np.linspace(40, 200, 21).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (21, 32, 32, 3)).copy()
    wave = (0.4 * np.sin(np.arange(7000) * 0.3)).astype(np.float32)
    write_clip(given, frames, wave, 24.0, 8000)
    options = ("--prompt", "a lamp", "--extend", str(given), "--frames", "25", "--lossless-audio", "--out", str(out))
    assert main(command(workspace, *options)) == 0
    found, _ = read_clip(out)
    assert len(found) == 21 + 25 - 17
    assert np.abs(found[:21].mean(axis=(1, 2, 3)) - levels).max() < 2
    sound = wavfile.read(tmp_path / "out.mp4.wav")[1]
    assert sound.size == round(29 / 24 * 8000)
    assert np.abs(sound[:7000] - wave).max() < 1e-3


def test_a_clip_goes_on_for_as_long_as_it_is_told_to(workspace: Workspace, tmp_path: Path) -> None:
    given, out = next(workspace.clips("demo").rglob("*.mp4")), tmp_path / "out.mp4"
    options = ("--prompt", "a lamp", "--extend", str(given), "--total-seconds", "1", "--out", str(out))
    assert main(command(workspace, *options)) == 0
    assert [len(part) for part in read_clip(out)] == [24, 8000]


def test_the_prompt_can_be_refined_first_and_the_original_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    words = "we hear a bell. a lamp flashes"
    assert main(command(workspace, "--prompt", words, "--refine", "--url", "", "--out", str(out))) == 0
    said = read_record(out)
    assert said["prompt"] == "A lamp flashes We hear a bell.".replace("flashes", "flashes.")
    assert said["refinement"]["original"] == words


def test_what_was_there_stays_when_a_run_fails(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "clip.mp4"
    out.write_bytes(b"precious")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mova_core.data.media.writing.MediaWriter.write_audio", full)
    assert main(command(workspace, "--prompt", "a lamp", "--out", str(out))) == 2
    assert out.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt", "  ", "--out", "a.mp4"), "the prompt is empty"),
        (("--prompt", "a lamp", "--out", "a.avi"), "--out is a.avi; expected a file that ends in .mp4"),
        (("--prompt", "a lamp", "--out", "FILE/a.mp4"), "nothing can be written to"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--image", "nowhere.png"), "image: no file at nowhere.png"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--image", "FILE"), "does not read as a picture"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--last-image", "FILE"), "does not read as a picture"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--video", "FILE"), "expected a video file"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--audio", "FILE"), "expected a file with sound"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--extend", "FILE"), "expected a video file"),
        (("--prompt", "a lamp", "--out", "CLIP", "--extend", "CLIP"), "--out is also --extend"),
        (
            ("--prompt", "a lamp", "--out", "a.mp4", "--extend", "CLIP", "--frames", "33"),
            "shows 9 frames at 24 fps; expected at least 17",
        ),
        (
            ("--prompt", "a lamp", "--out", "a.mp4", "--extend", "CLIP", "--total-seconds", "0.2"),
            "num_frames is 5; expected more than the 9 frames",
        ),
        (("--prompt", "a lamp", "--out", "a.mp4", "--total-seconds", "9"), "total_seconds is given without extend"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--extend", "CLIP", "--image", "CLIP"), "expected extend alone"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--video", "CLIP", "--frames", "13"), "--frames 9"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--audio", "CLIP", "--frames", "13"), "sounds for 0.38 s; expected"),
        (
            ("--prompt", "a lamp", "--out", "a.mp4", "--video", "CLIP", "--audio", "CLIP"),
            "audio, video are given at once",
        ),
        (("--prompt", "a lamp", "--out", "a.mp4", "--height", "40"), "height is 40; expected a multiple of 16"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--frames", "32"), "num_frames is 32; expected 4k+1"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--text-guidance", "-1"), "text_guidance is -1.0"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--audio-bridge-guidance", "-1"), "audio_bridge_guidance is -1.0"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--bridge-guidance", "nan"), "bridge_guidance is nan"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--steps", "0"), "num_steps is 0"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--seed", "-1"), "seed -1"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--preview-every", "-1"), "--preview-every is -1"),
        (("--prompt", "a lamp", "--out", "a.mp4", "--checkpoint", "nowhere"), "no model at nowhere"),
        (
            ("--prompt", "a lamp", "--out", "a.mp4", "--refine", "--url", "nowhere", "--model", "m"),
            "the server's address is",
        ),
    ],
)
def test_bad_input_is_one_line_and_no_model_is_loaded(
    workspace: Workspace,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MovaPipeline, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    text, clip = tmp_path / "words.txt", next(workspace.clips("demo").rglob("*.mp4"))
    text.write_text("these are words")
    named = [word.replace("FILE", str(text)).replace("CLIP", str(clip)) for word in options]
    assert main(command(workspace, *named)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_not_silently_replaced(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(workspace, "--prompt", "a lamp", "--device", "cuda", "--out", "a.mp4")) == 2
    assert "expected a GPU that PyTorch sees" in capsys.readouterr().err


def test_defaults_survive_the_disk_and_damage_is_told(tmp_path: Path) -> None:
    made = defaults_of(tiny_config(solver="multistep"), "joint3")
    made.save(tmp_path)
    assert made.settings.solver == "multistep"
    assert Defaults.load(tmp_path) == made
    (tmp_path / DEFAULTS_FILE).write_text('{"compute_dtype": "int3", "settings": {}}')
    with pytest.raises(UserError, match=r"generation_config.json does not read .*int3"):
        Defaults.load(tmp_path)


def test_a_release_from_before_solvers_had_names_is_used_with_eulers(tmp_path: Path) -> None:
    defaults_of(tiny_config(solver="multistep"), "joint3").save(tmp_path)
    values = json.loads((tmp_path / DEFAULTS_FILE).read_text())
    del values["settings"]["solver"]
    (tmp_path / DEFAULTS_FILE).write_text(json.dumps(values))
    found = Defaults.load(tmp_path)
    assert found is not None
    assert found.settings.solver == "euler"
    values["settings"]["solver"] = "magic"
    (tmp_path / DEFAULTS_FILE).write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"solver is 'magic'; expected one of euler, multistep"):
        Defaults.load(tmp_path)
