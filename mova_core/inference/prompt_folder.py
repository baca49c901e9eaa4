"""The folder that `mova sample --prompts` fills: clips, and one manifest that names those that are whole. No torch.

```
DIR/manifest.jsonl   one row a clip, in the order of the prompts; rewritten whole after each batch
DIR/<id>.mp4         as `mova_core.inference.saving` writes it
DIR/.rows.N.jsonl    while several processes fill the folder: the rows of process N, until the first takes them over
```

A clip counts once its row is written, which is after the clip: a run that is killed loses at most the batch in hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mova_core.errors import UserError
from mova_core.files import content_id, sha256_of_file, write_text
from mova_core.inference.prompt_lines import Planned
from mova_core.inference.saving import Record

MANIFEST_FILE = "manifest.jsonl"
LOCK_FILE = ".lock"  # held by the run that fills the folder
ROWS_FILES = ".rows.{}.jsonl"
NUM_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """A planned clip with the record that it is to have, and the recipe: an id of that record."""

    planned: Planned
    record: Record

    @property
    def id(self) -> str:
        return self.planned.request.id

    @property
    def recipe(self) -> str:
        """16 digits over all that decides the clip; what files and folders are called does not."""
        given = {name: file["sha256"] for name, file in self.record["given"].items()}
        model = {name: value for name, value in self.record["model"].items() if name != "name"}
        return content_id(json.dumps({**self.record, "given": given, "model": model}, sort_keys=True))


@dataclass(frozen=True)
class Made:
    """A clip that is written: its file's SHA-256, and its record, which tells a refined prompt as well."""

    wanted: Wanted
    record: Record
    sha256: str

    @property
    def row(self) -> Record:
        """Of the manifest."""
        wanted = self.wanted
        row = {"id": wanted.id, "file": file_name(wanted), "sha256": self.sha256}
        return {**row, "recipe": wanted.recipe, **self.record}


def file_name(wanted: Wanted) -> str:
    """Of the clip."""
    return f"{wanted.id}.mp4"


class PromptFolder:
    """The folder, and what its manifest says."""

    def __init__(self, path: Path) -> None:
        """Raises `UserError` if the manifest does not read."""
        self.path = path
        self.manifest = path / MANIFEST_FILE
        self.rows = _read(self.manifest) | self._others()

    def clip_path(self, wanted: Wanted) -> Path:
        return self.path / file_name(wanted)

    def begin(self, wanted: Sequence[Wanted], replace: bool) -> list[Wanted]:
        """The clips that are still to be made; makes the folder its own.

        Raises
        ------
        UserError : if a clip is there that was made otherwise, unless `replace`; if the folder holds files of these
            names that are in no manifest.
        """
        pending = [item for item in wanted if not self._is_done(item)]
        changed = [item.id for item in pending if self._recipe_of(item) not in ("", item.recipe)]
        if changed and not replace:
            raise UserError(
                f"{len(changed)} clips in {self.path} were made with other words, files, settings or weights "
                f"({_some(changed)})",
                expected="the ones that made them",
                remedy="name another folder with --out, or --replace to make these clips again",
            )
        if not self.manifest.exists():
            foreign = [self.clip_path(item).name for item in pending if self.clip_path(item).exists()]
            if foreign:
                raise UserError(
                    f"{self.path} holds {_some(foreign)} and no {MANIFEST_FILE}",
                    expected="a new folder, or one of an earlier run",
                    remedy="name another folder with --out",
                )
            write_text(self.manifest, "")
        self.take_over([], [item.id for item in wanted])
        return pending

    def add(self, batch: Sequence[Made], order: Sequence[str]) -> None:
        """Puts a batch whose clips are written into the manifest, and what other processes have made by now.

        Parameters
        ----------
        order : ids as the prompts file has them; rows of other ids, of lines that are there no more, stay at the end.
        """
        self._write([made.row for made in batch], order)

    def add_beside(self, batch: Sequence[Made], process: int) -> None:
        """As `add`, in a process that is not the first: into a file of its own."""
        path = self.path / ROWS_FILES.format(process)
        rows = _read(path) | {made.wanted.id: made.row for made in batch}
        _write(path, list(rows.values()))

    def take_over(self, rows: Sequence[Record], order: Sequence[str]) -> None:
        """Puts the rows of all processes into the manifest, and removes their files; in the first, once all are done.

        Parameters
        ----------
        rows : what the others say that they have made; on disks of several machines their files may show up late.
        """
        files = self._rows_files()
        if rows or files:
            self._write(rows, order)
        for path in files:
            path.unlink()

    def _write(self, rows: Sequence[Record], order: Sequence[str]) -> None:
        self.rows |= self._others() | {row["id"]: row for row in rows}
        places = {name: place for place, name in enumerate(order)}
        _write(self.manifest, sorted(self.rows.values(), key=lambda row: places.get(row["id"], len(places))))

    def _others(self) -> dict[str, Record]:
        return {name: row for path in self._rows_files() for name, row in _read(path).items()}

    def _rows_files(self) -> list[Path]:
        return sorted(self.path.glob(ROWS_FILES.format("*")))

    def _is_done(self, item: Wanted) -> bool:
        path = self.clip_path(item)
        row = self.rows.get(item.id)
        return (
            row is not None
            and row["recipe"] == item.recipe
            and path.is_file()
            and sha256_of_file(path) == row["sha256"]
        )

    def _recipe_of(self, item: Wanted) -> str:
        return str(self.rows.get(item.id, {}).get("recipe", ""))


def _read(path: Path) -> dict[str, Record]:
    if not path.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["id"]: row for row in rows if row["recipe"] and row["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not read ({type(error).__name__}: {error})",
            expected="rows as `mova sample` writes them",
            remedy="restore it, or name another folder with --out",
        ) from error


def _write(path: Path, rows: Sequence[Record]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
