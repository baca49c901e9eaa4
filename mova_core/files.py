"""Files that are whole or absent: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from mova_core.errors import UserError

READ_BLOCK_BYTES = 1 << 20
LONGEST_NAME_BYTES = 220
"""So that what is put around a name to write aside stays within the 255 that file systems allow."""


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit its file is flushed and takes `path`'s name.

    The temporary name keeps the suffix, since encoders choose their container by it. On an error nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem if len(os.fsencode(path.name)) <= LONGEST_NAME_BYTES else content_id(path.stem)
    aside = path.with_name(f".{stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield aside
        flush_to_disk(aside)
        os.replace(aside, path)
        flush_to_disk(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[int]:
    """Holds the lock file `path` for this process, however it ends; yields its file descriptor.

    Raises
    ------
    UserError : if another process holds it; `what` says what that one is doing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another {what} is running ({path} is held)",
                expected="one at a time",
                remedy="wait for it, or end it first",
            ) from error
        yield lock
    finally:
        os.close(lock)


def flush_to_disk(path: Path) -> None:
    """Makes a file's bytes, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def sha256_of_file(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of every file below `folder`, by its path relative to it: what a copy cut short, or a loss, changes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def content_id(*parts: object) -> str:
    """A 16-digit id derived from `parts`, equal on every machine for equal parts."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
