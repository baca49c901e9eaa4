"""Parquet manifests: a list of records in, the same list out, with the schema's name and version in the file.

The Arrow schema is derived from the record's annotations, so a record is described once. Rows are written in the order
given; callers sort by id, which makes equal content equal bytes.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mova_core.errors import UserError
from mova_core.files import written_aside

if TYPE_CHECKING:
    import pyarrow

Record = TypeVar("Record")

SCHEMA_VERSION = "1"
WRITTEN_BY = {"Source": "ingest", "Clip": "curate", "Caption": "caption", "LatentRow": "encode", "Sample": "sample"}
"""Record -> the verb that writes its manifest."""


def write_manifest(path: Path, record_type: type[Record], rows: Iterable[Record]) -> None:
    """Writes `rows` (instances of the dataclass `record_type`) to `path`, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    schema = arrow_schema(record_type)
    table = pyarrow.Table.from_pylist([_plain(row) for row in rows], schema=schema)
    with written_aside(path) as aside:
        pyarrow.parquet.write_table(table, aside, compression="zstd")


def read_manifest(path: Path, record_type: type[Record]) -> list[Record]:
    """Reads what `write_manifest` wrote.

    Raises
    ------
    UserError : if the file is absent, unreadable, or of another record type or schema version.
    """
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise UserError(
            f"no manifest at {path}",
            expected=f"a Parquet file of {record_type.__name__} rows",
            remedy=_remedy(record_type),
        )
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} does not read as Parquet ({error})",
            expected=f"a Parquet file of {record_type.__name__} rows",
            remedy=f"delete it and {_remedy(record_type)}",
        ) from error
    found = table.schema.metadata or {}
    expected = arrow_schema(record_type).metadata
    if found.get(b"mova_record") != expected[b"mova_record"] or found.get(b"mova_schema") != expected[b"mova_schema"]:
        raise UserError(
            f"{path} holds {found.get(b'mova_record', b'?').decode()} rows, "
            f"schema {found.get(b'mova_schema', b'?').decode()}",
            expected=f"{record_type.__name__} rows, schema {SCHEMA_VERSION}",
            remedy=f"delete it and {_remedy(record_type)}",
        )
    return list(_records(table, record_type))


def arrow_schema(record_type: type[Any]) -> pyarrow.Schema:
    """The Arrow schema of a record dataclass, with its name and `SCHEMA_VERSION` as metadata."""
    import pyarrow

    hints = typing.get_type_hints(record_type)
    fields = [
        pyarrow.field(field.name, _arrow_type(hints[field.name]), nullable=False)
        for field in dataclasses.fields(record_type)
    ]
    return pyarrow.schema(fields, metadata={"mova_record": record_type.__name__, "mova_schema": SCHEMA_VERSION})


def _remedy(record_type: type[Any]) -> str:
    verb = WRITTEN_BY.get(record_type.__name__)
    return f"run `mova {verb}`" if verb else "run the step that writes it"


def _arrow_type(annotation: Any) -> pyarrow.DataType:
    import pyarrow

    scalars = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    if annotation in scalars:
        return scalars[annotation]
    if typing.get_origin(annotation) is list:
        return pyarrow.list_(_arrow_type(typing.get_args(annotation)[0]))
    raise TypeError(f"a record field of type {annotation} has no Arrow type; expected str, int, float, bool or a list")


def _plain(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


def _records(table: pyarrow.Table, record_type: type[Record]) -> Iterator[Record]:
    for values in table.to_pylist():
        yield record_type(**values)
