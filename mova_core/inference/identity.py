"""Which model made a clip: a hash of its weights that takes a moment for 60 GB. Loads no torch.

Reading all weights would take as long as loading them. So of every tensor the name, type and shape are hashed, and
`PROBE_BYTES` each from its start, middle and end (small tensors whole). Training and merging change nearly every number
of a tensor, so they change the hash; a single flipped bit may not: `mova verify` finds those, by checksums of all
bytes. How tensors are split into files does not matter.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mova_core.errors import UserError
from mova_core.files import sha256_of_file

PROBE_BYTES = 1024
DIGITS = 16
LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 << 20  # the format's own limit
CONFIGURATIONS = ("model_index.json", "*/config.json", "scheduler/*.json", "tokenizer/*")


@dataclass(frozen=True)
class ModelIdentity:
    """What a model is recognised by.

    Attributes
    ----------
    name : the folder's name, for people.
    model_hash : 16 digits over weights; see above.
    config_hash : 16 digits over what is said of them: model_index.json, config.json files, scheduler, tokenizer.
    """

    name: str
    model_hash: str
    config_hash: str


def identify(folder: Path, codecs: Path | None = None) -> ModelIdentity:
    """The identity of the model in `folder` together with its codecs, which lie in `codecs` or beside it.

    Raises
    ------
    UserError : if a weight file's header does not read, or data it names is not there.
    """
    roots = [folder] if codecs is None or codecs.resolve() == folder.resolve() else [folder, codecs]
    weights, configurations = hashlib.sha256(), hashlib.sha256()
    for root in roots:
        for line in _tensor_lines(root):
            weights.update(line.encode())
        for path in sorted({path for pattern in CONFIGURATIONS for path in root.glob(pattern)}):
            configurations.update(f"{path.relative_to(root).as_posix()}={sha256_of_file(path)}\n".encode())
    name = folder.resolve().name
    return ModelIdentity(name, weights.hexdigest()[:DIGITS], configurations.hexdigest()[:DIGITS])


def _tensor_lines(root: Path) -> Iterator[str]:
    """One line a tensor, sorted by component and name, whatever file it is in."""
    found: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for path in sorted(root.glob("*/*.safetensors")):
        start, entries = _header(path)
        for name, entry in entries.items():
            found[f"{path.parent.name}/{name}"] = (path, start, entry)
    opened: dict[Path, BinaryIO] = {}
    try:
        for key in sorted(found):
            path, start, entry = found[key]
            stream = opened.get(path) or opened.setdefault(path, path.open("rb"))
            digest = _probed(stream, start, entry)
            yield f"{key} {entry['dtype']} {entry['shape']} {digest}\n"
    finally:
        for stream in opened.values():
            stream.close()


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where a safetensors file's data begins, and its tensors' entries."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(LENGTH_BYTES))
            if length > MOST_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            entries = json.loads(stream.read(length))
        entries.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        missing = LENGTH_BYTES + length + end - path.stat().st_size
        if missing > 0:
            raise ValueError(f"{missing} bytes are missing at its end")
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} does not read ({error})", expected="a whole safetensors file", remedy="fetch the file again"
        ) from error
    return LENGTH_BYTES + length, entries


def _probed(stream: BinaryIO, start: int, entry: dict[str, Any]) -> str:
    low, high = entry["data_offsets"]
    size = high - low
    if size <= 3 * PROBE_BYTES:
        places = [(0, size)]
    else:
        places = [(offset, PROBE_BYTES) for offset in (0, (size - PROBE_BYTES) // 2, size - PROBE_BYTES)]
    digest = hashlib.sha256()
    for offset, count in places:
        stream.seek(start + low + offset)
        digest.update(stream.read(count))
    return digest.hexdigest()[:DIGITS]
