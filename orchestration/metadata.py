"""From a step's report to what Dagster shows: counts, rejects, metrics, pictures, paths and a data version."""

from __future__ import annotations

import hashlib
from pathlib import Path

import dagster as dg

from mova_core.files import sha256_of_file
from mova_core.report import StageReport
from orchestration.previews import pictures_as_markdown

# Where a folder has one of these, it alone tells whether the output changed: beside it lie wall-clock times.
TELLING_NAMES = ("checkpoint", "metrics.json")


def report_metadata(report: StageReport, root: Path) -> dict[str, dg.MetadataValue]:
    """Everything of `report` as metadata; empty parts are left out."""
    metadata: dict[str, dg.MetadataValue] = {
        "seconds": dg.MetadataValue.float(report.seconds),
        "rows_in": dg.MetadataValue.int(report.rows_in),
        "rows_out": dg.MetadataValue.int(report.rows_out),
    }
    for name, value in report.metrics.items():
        metadata[f"metric_{name}"] = dg.MetadataValue.float(float(value))
    if report.rejected:
        rows = [dg.TableRecord({"reason": reason, "rows": count}) for reason, count in sorted(report.rejected.items())]
        metadata["rejected"] = dg.MetadataValue.table(rows)
    for number, output in enumerate(report.outputs, start=1):
        key = "output" if len(report.outputs) == 1 else f"output_{number}"
        metadata[key] = dg.MetadataValue.path(str(root / output))
    if report.previews:
        metadata["previews"] = dg.MetadataValue.md(pictures_as_markdown(root, report.previews))
    if report.notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes))
    return metadata


def data_version(folders: list[Path]) -> dg.DataVersion:
    """A version equal for equal output bytes; Dagster compares it to tell which assets downstream are stale."""
    digest = hashlib.sha256()
    for folder in sorted(folders):
        for path in _telling_files(folder):
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\x1f{sha256_of_file(path)}\n".encode())
    return dg.DataVersion(digest.hexdigest()[:16])


def _telling_files(folder: Path) -> list[Path]:
    for name in TELLING_NAMES:
        if (folder / name).is_file():
            return [folder / name]
        if (folder / name).is_dir():
            folder = folder / name
    return sorted(path for path in folder.rglob("*") if path.is_file())
