"""What a step has already done, one line a source, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mova_core.files import write_text


class Journal:
    """A JSON-lines file of ``{"key": ..., "value": ...}``; the last line for a key holds.

    A line that a kill cut short, or that is damaged, is dropped when the file is opened: its work is done again.
    `settle` leaves the file in an order that depends on the keys alone, so equal work ends in equal bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Any] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        whole = ""
        for line in text.splitlines(keepends=True):
            entry = _entry(line)
            if entry is not None:
                self.entries[entry[0]] = entry[1]
                whole += line
        if whole != text:
            write_text(path, whole)

    def add(self, key: str, value: Any) -> None:
        """Appends one entry, on its way to the disk when this returns."""
        self.entries[key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(key, value))

    def settle(self, keys: Iterable[str]) -> None:
        """Rewrites the file with only `keys`, sorted."""
        self.entries = {key: self.entries[key] for key in sorted(set(keys))}
        write_text(self.path, "".join(_line(key, value) for key, value in self.entries.items()))


def _entry(line: str) -> tuple[str, Any] | None:
    if not line.endswith("\n"):
        return None
    try:
        values = json.loads(line)
        return str(values["key"]), values["value"]
    except (ValueError, KeyError, TypeError):
        return None


def _line(key: str, value: Any) -> str:
    return json.dumps({"key": key, "value": value}, sort_keys=True) + "\n"
