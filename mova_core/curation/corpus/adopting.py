"""`mova corpus --raw DIR`: a folder of the user's own videos becomes a collection."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import yaml

from mova_core.config import COLLECTION_NAME, Config, parse_config
from mova_core.config.reading import read_utf8
from mova_core.curation.corpus.step import COLLECTION, FOOTAGE_COLLECTION
from mova_core.curation.ingest import LEFT_BEHIND_FILE, candidates
from mova_core.curation.inspection import why_unreadable
from mova_core.errors import UserError
from mova_core.files import write_text, written_aside
from mova_core.report import StageReport
from mova_core.workspace import Workspace

ORIGIN_FILE = ".origin"
"""In a collection's folder: the folder that it was taken from."""


def adopt_folder(config: Config, workspace: Workspace, folder: Path, name: str = "") -> StageReport:
    """Takes the videos under `folder` into ``data/raw/<name>`` and adds `name` to `collections` in params.yaml.

    Files are hard links where the file system allows, otherwise copies; folders within are kept. What cannot be read is
    listed there, so that `ingest` accounts for it with a reason. Hidden files and those whose suffix
    ``ingest.ignored_suffixes`` lists stay behind. Adopting a folder again takes what is new or changed.

    Parameters
    ----------
    name : of the collection; by default the folder's own, with other characters than letters, digits, "-" and "_"
        turned into "-".

    Raises
    ------
    UserError : if there is no such folder, if nothing in it could be a video, if it holds the workspace's data or lies
        in it, or if the name is that of a rendered collection, of one from another folder, or no name for one.
    """
    name = name or collection_name(folder)
    _check(workspace, folder, name)
    files = sorted(candidates(folder, config.ingest))
    if not files:
        raise UserError(
            f"no video in {folder}", expected="at least one file to take in", remedy="name a folder that holds videos"
        )
    target = workspace.raw(name)
    write_text(target / ORIGIN_FILE, str(folder.resolve()))
    left: dict[str, str] = {}
    taken = 0
    for file in files:
        try:
            taken += _link_or_copy(folder / file, target / file)
        except Unreadable as error:
            left[file] = str(error)
    write_text(target / LEFT_BEHIND_FILE, json.dumps(left, indent=1, sort_keys=True) + "\n")
    if name not in config.collections:
        text = read_utf8(workspace.params)
        write_text(workspace.params, with_collection(text, name, str(workspace.params)))
    return StageReport(
        step="corpus",
        rows_in=len(files),
        rows_out=len(files) - len(left),
        rejected={"unreadable": len(left)} if left else {},
        metrics={"taken": taken, "there_already": len(files) - len(left) - taken},
        outputs=(str(target.relative_to(workspace.root)),),
        notes=(f"Collection {name} is in {workspace.params.name}; `mova ingest --collection {name}` comes next.",),
    )


def collection_name(folder: Path) -> str:
    """The name that a folder's collection gets."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-_")


def with_collection(text: str, name: str, source: str) -> str:
    """params.yaml with `name` added to its `collections`; every comment and line break stays.

    Raises
    ------
    UserError : if the text holds the list in a form that cannot be added to.
    """
    before = parse_config(text, source).collections
    last = _collections_node(text).value[-1]
    if _collections_node(text).flow_style:
        place = last.end_mark.index
        added = f"{text[:place]}, {name}{text[place:]}"
    else:
        end_of_line = text.find("\n", last.end_mark.index)
        place = len(text) if end_of_line < 0 else end_of_line
        indent = " " * (text.rfind("-", 0, last.start_mark.index) - text.rfind("\n", 0, last.start_mark.index) - 1)
        added = f"{text[:place]}\n{indent}- {name}{text[place:]}"
    if parse_config(added, source).collections != (*before, name):
        raise UserError(
            f"cannot add {name!r} to `collections` in {source}",
            expected="a plain YAML list",
            remedy="add the name to it by hand",
        )
    return added


def _collections_node(text: str) -> yaml.SequenceNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # parse_config has read it
    (node,) = (value for key, value in root.value if key.value == "collections")
    assert isinstance(node, yaml.SequenceNode)
    return node


def _check(workspace: Workspace, folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}", expected="a folder of videos", remedy="check the path after --raw")
    data, own, target = workspace.data.resolve(), folder.resolve(), workspace.raw(name)
    if data.is_relative_to(own) or (own.is_relative_to(data) and own != target.resolve()):
        raise UserError(
            f"{folder} holds this workspace's data, or is part of it",
            expected="a folder of videos outside of it",
            remedy="name the folder that holds the videos alone",
        )
    origin = target / ORIGIN_FILE
    before = origin.read_text(encoding="utf-8", errors="replace") if origin.is_file() else ""
    if own != target.resolve() and before != str(own) and target.is_dir() and any(target.iterdir()):
        raise UserError(
            f"there is a collection {name!r} already, from {before or 'elsewhere'}",
            expected=f"one of {own}, or none",
            remedy=f"choose another name with --name, or delete {target}",
        )
    if name in (COLLECTION, FOOTAGE_COLLECTION) or not re.match(COLLECTION_NAME, name):
        raise UserError(
            f"the collection would be called {name!r}",
            expected=f"letters, digits, '-' and '_', and neither {COLLECTION} nor {FOOTAGE_COLLECTION}",
            remedy="choose another name with --name",
        )


class Unreadable(Exception):
    """A file that cannot be taken; the text says why."""


def _link_or_copy(source: Path, target: Path) -> bool:
    """Whether anything had to be done. Raises `Unreadable` for what no collection could hold."""
    why = why_unreadable(source)
    if why:
        raise Unreadable(why)
    real = source.resolve()
    if target.exists():
        if target.samefile(real) or _looks_the_same(real, target):
            return False
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(real, target)
    except OSError:  # another file system, or one without links
        with written_aside(target) as aside:
            shutil.copy2(real, aside)
    return True


def _looks_the_same(source: Path, target: Path) -> bool:
    first, second = source.stat(), target.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)
