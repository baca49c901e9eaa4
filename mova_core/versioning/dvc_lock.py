"""Which hash DVC keeps a folder under, read from dvc.lock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from mova_core.errors import UserError

LOCK_FILE = "dvc.lock"


def locked_outputs(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Folder -> hash, for every output in `root`/dvc.lock that holds one of `files` (relative POSIX paths).

    A lock that is older than the folder would state a false address: an entry counts only while the folder still has
    the number of files and of bytes that the lock recorded. Empty where DVC is not used.
    """
    path = root / LOCK_FILE
    if not path.is_file():
        return {}
    try:
        lock = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        stages = list(lock.get("stages", {}).values())
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
        raise UserError(
            f"{path} does not read ({type(error).__name__})",
            expected="what DVC wrote there",
            remedy="take it from git (`git checkout dvc.lock`), or delete it and run `dvc repro`",
        ) from error
    names = tuple(files)
    found: dict[str, str] = {}
    for stage in stages:
        for output in stage.get("outs", ()):
            folder = str(output["path"])
            if any(name == folder or name.startswith(f"{folder}/") for name in names) and _is_current(root, output):
                found[folder] = f"{output.get('hash', 'md5')}:{output.get('md5', '')}"
    return dict(sorted(found.items()))


def _is_current(root: Path, output: dict[str, Any]) -> bool:
    path = root / str(output["path"])
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    return len(files) == output.get("nfiles", 1) and sum(file.stat().st_size for file in files) == output.get("size")
