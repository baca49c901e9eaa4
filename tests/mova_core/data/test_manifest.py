"""Manifests: a list of records in, the same list out, or one clear line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.records import Caption, Clip, LatentRow, Reject, Sample, Source
from mova_core.errors import UserError

CAPTION = Caption("c1", "demo", "a lamp", "", "a bell", "", "a lamp. a bell", "labels")
RECORDS = (Source, Reject, Clip, Caption, LatentRow, Sample)


@dataclass(frozen=True)
class Odd:
    name: str
    values: dict[str, int] = field(default_factory=dict)


def test_rows_come_back_in_order_and_equal(tmp_path: Path) -> None:
    rows = [CAPTION, replace(CAPTION, clip_id="c0", speech="“gänse” \n two lines")]
    write_manifest(tmp_path / "manifest.parquet", Caption, rows)
    assert read_manifest(tmp_path / "manifest.parquet", Caption) == rows


def test_lists_and_numbers_keep_their_types(tmp_path: Path) -> None:
    row = LatentRow("c1", "demo", "train", "lamp", "text", "shard-0", 3, 7, ["audio", "joint1"])
    write_manifest(tmp_path / "m.parquet", LatentRow, [row])
    (back,) = read_manifest(tmp_path / "m.parquet", LatentRow)
    assert back == row
    assert (type(back.row), type(back.phases)) == (int, list)


@pytest.mark.parametrize("record_type", RECORDS, ids=lambda record: record.__name__)
def test_every_record_has_a_schema_and_an_empty_manifest_reads(record_type: type, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", record_type, [])
    assert read_manifest(tmp_path / "m.parquet", record_type) == []


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_manifest(tmp_path / name, Caption, [CAPTION] * 100)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_absent_a_torn_and_a_foreign_manifest_each_say_so(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    with pytest.raises(UserError, match=r"no manifest at .*run `mova caption`"):
        read_manifest(path, Caption)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match="does not read as Parquet"):
        read_manifest(path, Caption)
    write_manifest(path, Reject, [])
    with pytest.raises(UserError, match="holds Reject rows, schema 1; expected Caption rows"):
        read_manifest(path, Caption)


def test_a_field_without_an_arrow_type_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no Arrow type"):
        write_manifest(tmp_path / "m.parquet", Odd, [])
