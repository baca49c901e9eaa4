"""A release folder that is not what was released is found out, and every deviation is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mova_core.cli import main
from mova_core.errors import UserError
from mova_core.release.checksums import CHECKSUMS_FILE, write_checksums
from mova_core.release.verify import verify_release

WEIGHTS = "audio_dit/diffusion_pytorch_model.safetensors"


def test_a_release_is_whole(folder: Path) -> None:
    assert verify_release(folder) == []


def test_one_flipped_bit_is_found(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert verify_release(folder) == [f"{WEIGHTS} differs from what was released"]


def test_a_missing_file_is_found_by_the_list_and_by_the_layout(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    assert verify_release(folder) == [
        "tokenizer/tokenizer_config.json is missing",
        "component tokenizer has no tokenizer_config.json",
    ]


def test_an_added_file_is_found(folder: Path) -> None:
    (folder / "audio_dit" / ".hidden").write_text("more")
    assert verify_release(folder) == [f"audio_dit/.hidden is not in {CHECKSUMS_FILE}"]


def test_a_link_in_a_file_s_place_is_found(folder: Path, tmp_path: Path) -> None:
    elsewhere = (folder / WEIGHTS).rename(tmp_path / "weights")
    (folder / WEIGHTS).symlink_to(elsewhere)
    assert verify_release(folder) == [f"{WEIGHTS} is a link, expected a plain file"]


def test_weights_that_run_code_are_refused_even_when_listed(folder: Path) -> None:
    (folder / "audio_dit" / "pytorch_model.bin").write_bytes(b"pickle")
    write_checksums(folder)
    assert verify_release(folder) == [
        "audio_dit/pytorch_model.bin may run code when it is loaded; weights are safetensors only"
    ]


@pytest.mark.parametrize("line", ["no digest here", f"{'0' * 64}  ../outside", f"{'0' * 64}  /etc/hostname"])
def test_a_list_that_points_outside_or_is_no_list_is_found(folder: Path, line: str) -> None:
    with (folder / CHECKSUMS_FILE).open("a") as stream:
        stream.write(line + "\n")
    (problem,) = verify_release(folder)
    assert "is not a digest and a file of this folder" in problem


def test_without_the_list_nothing_is_vouched_for(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).unlink()
    assert verify_release(folder) == [f"{CHECKSUMS_FILE} is missing, so nothing can be checked"]


def test_an_index_that_is_no_index_is_found(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1]")
    write_checksums(folder)
    assert verify_release(folder) == ["model_index.json is not an object that names components"]


def test_the_second_expert_is_wanted_where_the_index_names_it(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["video_dit_2"]
    (folder / "video_dit_2" / "config.json").unlink()
    write_checksums(folder)
    assert verify_release(folder) == ["component video_dit_2 has no config.json"]


def test_sha256sum_reads_the_list(folder: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", CHECKSUMS_FILE], cwd=folder, check=True)


def test_the_command_says_so_and_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == 0
    assert "is whole" in capsys.readouterr().out
    (folder / "LICENSE").unlink()
    assert main(["verify", str(folder)]) == 2
    assert "LICENSE is missing" in capsys.readouterr().out
    assert main(["verify", str(folder / "nowhere")]) == 2
    assert "run `mova release`" in capsys.readouterr().err


def test_no_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder at"):
        verify_release(tmp_path / "nowhere")
