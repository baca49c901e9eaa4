"""Files are whole or absent, also when the writer fails or is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mova_core.files import content_id, sha256_of_file, write_bytes, write_text, written_aside


def test_text_and_bytes_arrive_whole_in_folders_that_were_not_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "größer\n")
    write_bytes(tmp_path / "a" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "größer\n"
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b.txt", "c.bin"]


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.mp4"
    write_text(path, "old")

    def fail_halfway() -> None:
        with written_aside(path) as aside:
            aside.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.mp4"]


def test_the_temporary_name_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    with written_aside(tmp_path / "clip.mp4") as aside:
        assert aside.suffix == ".mp4"
        assert aside.name.startswith(".")
        aside.write_bytes(b"x")


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_text(path, "old")
    script = (
        "import os, signal, sys; from pathlib import Path; from mova_core.files import written_aside\n"
        "with written_aside(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_hashes_agree_with_hashlib_across_read_blocks(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    assert sha256_of_file(path) == hashlib.sha256(content).hexdigest()


def test_ids_depend_on_each_part_and_on_where_it_ends() -> None:
    assert content_id("a", 1) == content_id("a", "1")
    assert len(content_id("a")) == 16
    assert len({content_id("ab", "c"), content_id("a", "bc"), content_id("abc"), content_id("a", "b", "c")}) == 4
