"""A folder of one's own becomes a collection."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mova_core.config import load_config, preset_text
from mova_core.curation import ingest
from mova_core.curation.corpus.adopting import adopt_folder, with_collection
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Reject
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "params.yaml").write_text(preset_text("nano"), encoding="utf-8")
    return Workspace(tmp_path / "ws")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "My holiday, 2024"
    (folder / "day 1").mkdir(parents=True)
    (folder / "-a.mp4").write_bytes(b"one")
    (folder / "day 1" / "b.MOV").write_bytes(b"two")
    (folder / "notes.TXT").write_bytes(b"not a video")
    (folder / ".hidden.mp4").write_bytes(b"hidden")
    (folder / "link.mp4").symlink_to(folder / "-a.mp4")
    return folder


def adopt(workspace: Workspace, folder: Path, name: str = "") -> StageReport:
    return adopt_folder(load_config(workspace.params), workspace, folder, name)


def test_videos_come_in_under_the_folders_name(workspace: Workspace, videos: Path) -> None:
    report = adopt(workspace, videos)
    target = workspace.raw("My-holiday-2024")
    assert {str(p.relative_to(target)) for p in target.rglob("[!.]*") if p.is_file()} == {
        "-a.mp4",
        "day 1/b.MOV",
        "link.mp4",
    }
    assert (target / "link.mp4").read_bytes() == b"one"
    assert not (target / "link.mp4").is_symlink()
    assert load_config(workspace.params).collections == ("demo", "footage", "My-holiday-2024")
    assert report.metrics == {"taken": 3, "there_already": 0}
    assert "mova ingest --collection My-holiday-2024" in report.notes[0]


def test_every_comment_of_the_configuration_stays(workspace: Workspace, videos: Path) -> None:
    adopt(workspace, videos)
    before, after = preset_text("nano").splitlines(), workspace.params.read_text(encoding="utf-8").splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [("collections: [demo, footage]", "collections: [demo, footage, My-holiday-2024]")]


def test_a_second_time_takes_what_is_new_or_changed(workspace: Workspace, videos: Path) -> None:
    adopt(workspace, videos)
    text = workspace.params.read_text(encoding="utf-8")
    (videos / "c.mp4").write_bytes(b"three")
    (videos / "-a.mp4").unlink()
    (videos / "-a.mp4").write_bytes(b"one, longer")
    report = adopt(workspace, videos)
    assert report.metrics == {"taken": 3, "there_already": 1}  # c, the changed one, and the link to it
    assert (workspace.raw("My-holiday-2024") / "-a.mp4").read_bytes() == b"one, longer"
    assert workspace.params.read_text(encoding="utf-8") == text


def test_without_hard_links_files_are_copied(
    workspace: Workspace, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("mova_core.curation.corpus.adopting.os.link", refuse)
    assert adopt(workspace, videos, "mine").metrics == {"taken": 3, "there_already": 0}
    assert (workspace.raw("mine") / "day 1" / "b.MOV").read_bytes() == b"two"
    assert adopt(workspace, videos, "mine").metrics == {"taken": 0, "there_already": 3}


def test_what_cannot_be_read_is_accounted_for_by_ingest(workspace: Workspace, videos: Path) -> None:
    (videos / "nowhere.mp4").symlink_to(videos / "gone.mp4")
    (videos / "circle.mp4").symlink_to(videos / "circle.mp4")
    os.mkfifo(videos / "pipe.mp4")
    (videos / "day 1" / "back").symlink_to(videos)
    report = adopt(workspace, videos, "mine")
    assert (report.rows_in, report.rows_out, report.rejected) == (6, 3, {"unreadable": 3})
    found = ingest.run(load_config(workspace.params), workspace, "mine")
    assert (found.rows_in, found.rows_out) == (6, 0)
    rejects = {row.path: row for row in read_manifest(workspace.ingest("mine") / "rejects.parquet", Reject)}
    for name in ("nowhere.mp4", "circle.mp4", "pipe.mp4"):
        assert rejects[name].reason == "unreadable"
        assert rejects[name].detail
    (videos / "nowhere.mp4").unlink()
    (videos / "nowhere.mp4").write_bytes(b"there after all")
    assert adopt(workspace, videos, "mine").rejected == {"unreadable": 2}
    assert ingest.run(load_config(workspace.params), workspace, "mine").rows_in == 6


def test_a_folder_that_cannot_be_listed_is_accounted_for(
    workspace: Workspace, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (videos / "closed").mkdir()
    listed = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = adopt(workspace, videos, "mine")
    assert (report.rows_in, report.rejected) == (4, {"unreadable": 1})
    ingest.run(load_config(workspace.params), workspace, "mine")
    rejects = {row.path: row.detail for row in read_manifest(workspace.ingest("mine") / "rejects.parquet", Reject)}
    assert rejects["closed"] == "a folder that cannot be listed"


def test_two_folders_of_one_name_do_not_run_together(workspace: Workspace, videos: Path, tmp_path: Path) -> None:
    adopt(workspace, videos, "mine")
    other = tmp_path / "other"
    other.mkdir()
    (other / "-a.mp4").write_bytes(b"another video of the same name")
    with pytest.raises(UserError, match=r"there is a collection 'mine' already, from .*holiday.*--name"):
        adopt(workspace, other, "mine")
    assert (workspace.raw("mine") / "-a.mp4").read_bytes() == b"one"


def test_a_folder_that_lies_in_place_is_only_listed(workspace: Workspace) -> None:
    folder = workspace.raw("mine")
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"one")
    assert adopt(workspace, folder).metrics == {"taken": 0, "there_already": 1}
    assert "mine" in load_config(workspace.params).collections
    with pytest.raises(UserError, match="part of it"):
        adopt(workspace, workspace.raw_root)


def test_a_name_as_long_as_the_file_system_allows_is_copied_too(
    workspace: Workspace, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "x" * 251 + ".mp4"
    (videos / name).write_bytes(b"long")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("mova_core.curation.corpus.adopting.os.link", refuse)
    adopt(workspace, videos, "mine")
    assert (workspace.raw("mine") / name).read_bytes() == b"long"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("collections: [demo,   footage] # all", "collections: [demo,   footage, new] # all"),
        ("collections:\n  - demo\n  - footage  # real\n", "collections:\n  - demo\n  - footage  # real\n  - new\n"),
        ("collections:\n- demo # one\n", "collections:\n- demo # one\n- new\n"),
        ("collections: [\n  demo,\n  footage\n]", "collections: [\n  demo,\n  footage, new\n]"),
        ('collections: ["demo"]', 'collections: ["demo", new]'),
    ],
)
def test_the_list_grows_in_the_form_it_has(before: str, after: str) -> None:
    text = preset_text("nano").replace("collections: [demo, footage]", before)
    assert with_collection(text, "new", "params.yaml") == preset_text("nano").replace(
        "collections: [demo, footage]", after
    )


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("nowhere", "", "no folder"),
        (".", "", "holds this workspace's data"),
        ("empty", "", "no video in"),
        ("My holiday, 2024", "demo", "would be called 'demo'"),
        ("My holiday, 2024", "../up", r"would be called '\.\./up'"),
        ("!!!", "", "would be called ''"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_line(
    workspace: Workspace, videos: Path, tmp_path: Path, folder: str, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "!!!").mkdir()
    with pytest.raises(UserError, match=message):
        adopt(workspace, tmp_path / folder, name)
    assert workspace.params.read_text(encoding="utf-8") == preset_text("nano")
    assert not workspace.data.exists()
