"""One raw file looked at: its hash, what it holds, or the reason why it cannot be used."""

from __future__ import annotations

import os
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mova_core.files import sha256_of_file

# Raise when inspection finds something else in the same bytes, so that old results are not taken over.
PROBE_VERSION = 2
BOX_HEADER_BYTES = 8
# For other formats (MPEG transport streams, bare codec streams) the library estimates it from the file's size.
FORMATS_THAT_STATE_THEIR_DURATION = ("mov", "mp4", "matroska", "webm", "avi", "flv")


@dataclass(frozen=True)
class InspectionTask:
    """A file to inspect.

    Attributes
    ----------
    known_sha256 : of the last inspection; if the file still has it, `inspect` stops there.
    tolerated_loss : see `IngestConfig`.
    """

    path: Path
    known_sha256: str
    tolerated_loss: float


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes
    ----------
    reason, detail : why the file is rejected; empty for a video with sound.
    facts : the fields of `records.Source` that the file itself tells; empty for a rejected file.
    """

    sha256: str
    size_bytes: int
    reason: str = ""
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def inspect(task: InspectionTask) -> Inspection | None:
    """Hashes and probes a file; None if its hash is the known one. Whatever the file holds, this returns."""
    from mova_core.data.media import MediaError

    path = task.path
    why = why_unreadable(path)
    if why:
        return Inspection("", 0, "unreadable", why)
    try:
        size_bytes, sha256 = path.stat().st_size, sha256_of_file(path)
    except OSError as error:
        return Inspection("", 0, "unreadable", error.strerror or type(error).__name__)
    if sha256 == task.known_sha256:
        return None
    try:
        return Inspection(sha256, size_bytes, facts=_facts(path, task.tolerated_loss))
    except MediaError as error:
        reason, detail = error.reason, error.detail
    if reason in ("unreadable", "corrupt"):
        missing = missing_bytes(path)
        if missing:
            reason, detail = "truncated", f"{missing} bytes fewer than the file's own boxes announce"
        else:
            reason = "unreadable"
    return Inspection(sha256, size_bytes, reason, detail)


def why_unreadable(path: Path) -> str:
    """Why a file's bytes cannot be had, without reading them; empty where they can."""
    try:
        if path.is_dir():
            return "a folder that cannot be listed"
        if not path.is_file():
            return "not a regular file, or a link that leads nowhere"
    except OSError as error:  # it lies behind a closed folder, or a link leads in a circle
        return error.strerror or type(error).__name__
    return "" if os.access(path, os.R_OK) else "no permission to read it"


def _facts(path: Path, tolerated_loss: float) -> dict[str, Any]:
    from mova_core.data.media import MediaError, probe

    found = asdict(probe(path))
    if not found["audio_codec"]:
        raise MediaError("no_audio", "there is no sound that decodes")
    promised, present = promised_and_present_seconds(path)
    if promised and present < promised * (1 - tolerated_loss) - 1 / found["fps"]:
        raise MediaError("truncated", f"{present:.3f} s are there, the header promises {promised:.3f} s")
    return found


def promised_and_present_seconds(path: Path) -> tuple[float, float]:
    """The duration that the container's header states (0 for formats that state none), and what its packets cover."""
    from mova_core.data.media.opening import opened

    with opened(path) as container:
        states_it = any(name in FORMATS_THAT_STATE_THEIR_DURATION for name in container.format.name.split(","))
        promised = (container.duration or 0) / 1e6 if states_it else 0.0
        start = (container.start_time or 0) / 1e6
        end = start
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return promised, end - start


def missing_bytes(path: Path) -> int:
    """How many bytes an ISO media file (mp4, mov) falls short of what its top-level boxes announce; 0 for others."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        position = 0
        while position + BOX_HEADER_BYTES <= size:
            stream.seek(position)
            length, kind = struct.unpack(">I4s", stream.read(BOX_HEADER_BYTES))
            if position == 0 and kind != b"ftyp":
                return 0
            if length == 1:
                (length,) = struct.unpack(">Q", stream.read(BOX_HEADER_BYTES).ljust(BOX_HEADER_BYTES, b"\0"))
            if length < BOX_HEADER_BYTES:  # 0: this box runs to the end of the file; less is no box
                return 0
            position += length
    return max(position - size, 0)
