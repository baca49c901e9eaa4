"""checksums.sha256: the digest of every file of a folder, in the format that `sha256sum --check` reads."""

from __future__ import annotations

import re
from pathlib import Path

from mova_core.files import sha256_of_file, write_text

CHECKSUMS_FILE = "checksums.sha256"
LINE = re.compile(r"^(?P<digest>[0-9a-f]{64})  (?P<name>.+)$")


def write_checksums(folder: Path) -> Path:
    """Writes the list for every file below `folder`, sorted by name, and returns its path."""
    path = folder / CHECKSUMS_FILE
    write_text(path, "".join(f"{sha256_of_file(folder / name)}  {name}\n" for name in files_of(folder)))
    return path


def checksum_problems(folder: Path) -> list[str]:
    """One sentence for every file that is missing, altered, added or not a plain file; empty if all is as released."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return [f"{CHECKSUMS_FILE} is missing, so nothing can be checked"]
    listed: dict[str, str] = {}
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = LINE.match(line)
        if match is None or _leaves_the_folder(match["name"]):
            problems.append(f"line {number} of {CHECKSUMS_FILE} is not a digest and a file of this folder")
        else:
            listed[match["name"]] = match["digest"]
    present = set(files_of(folder))
    problems += [f"{name} is missing" for name in sorted(set(listed) - present)]
    problems += [f"{name} is not in {CHECKSUMS_FILE}" for name in sorted(present - set(listed))]
    for name in sorted(present & set(listed)):
        if (folder / name).is_symlink():
            problems.append(f"{name} is a link, expected a plain file")
        elif sha256_of_file(folder / name) != listed[name]:
            problems.append(f"{name} differs from what was released")
    return problems


def files_of(folder: Path) -> list[str]:
    """Every file below `folder` but the list itself, as sorted POSIX paths relative to it. Links count as files."""
    entries = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in entries)
    return sorted(name for name in names if name != CHECKSUMS_FILE)


def _leaves_the_folder(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")
