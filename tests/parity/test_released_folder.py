"""A folder in the release's own layout, with its codecs and its text encoder, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from parity_recordings import FOLDER

from mova_core.cli import main
from mova_core.data.media import probe, read_clip

CHECKPOINT = FOLDER / "g_ckpt"
SIZE = ("--height", "32", "--width", "48", "--frames", "17", "--steps", "4")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
@pytest.mark.skipif(not CHECKPOINT.is_dir(), reason=f"no checkpoint at {CHECKPOINT} (set MOVA_PARITY_DIR)")
def test_a_released_folder_makes_a_clip_without_a_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, out = tmp_path / "first.png", tmp_path / "clip.mp4"
    cv2.imwrite(str(picture), np.full((64, 64, 3), 120, np.uint8))
    words = ("--prompt", "a dog barks", "--negative-prompt", "noise", "--image", str(picture), "--out", str(out))
    root = ("--root", str(tmp_path / "nothing"))
    assert main([*root, "generate", "--checkpoint", str(CHECKPOINT), *words, *SIZE, "--bridge-guidance", "3.5"]) == 0
    found = probe(out)
    assert (found.width, found.height, found.num_frames, found.fps) == (48, 32, 17, 24.0)
    assert (found.video_codec, found.audio_codec, found.sample_rate_hz) == ("h264", "aac", 48_000)
    frames, sound = read_clip(out)
    assert sound.size == round(17 / 24 * 48_000)
    assert frames.std() > 1
    settings = json.loads((tmp_path / "clip.mp4.json").read_text())["settings"]
    assert (settings["text_guidance"], settings["bridge_guidance"]) == (5.0, 3.5)
    assert "0.71 s of 48x32" in capsys.readouterr().out
