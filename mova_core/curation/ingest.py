"""`mova ingest`: which raw files are videos with sound, and why the others are not.

Reads data/raw/<collection>/; writes data/ingest/<collection>/{manifest,rejects}.parquet, and probes.jsonl, by which a
file that has not changed is not probed again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mova_core.config import Config
from mova_core.config.curation import IngestConfig
from mova_core.curation.executor import WorkerLost, make_executor
from mova_core.curation.inspection import PROBE_VERSION, Inspection, InspectionTask, inspect
from mova_core.curation.journal import Journal
from mova_core.data.manifest import write_manifest
from mova_core.data.records import Reject, Source
from mova_core.errors import UserError
from mova_core.files import content_id
from mova_core.progress import track
from mova_core.report import StageReport
from mova_core.workspace import Workspace

LABELS_FOLDER = "labels"
LEFT_BEHIND_FILE = ".left-behind.json"
"""In a collection's folder: the files of the user's folder that could not be taken in, and why."""


def run(config: Config, workspace: Workspace, collection: str) -> StageReport:
    """Inspects every candidate file of a collection.

    Raises
    ------
    UserError : if the collection has no folder.
    """
    raw = workspace.raw(collection)
    if not raw.is_dir():
        raise UserError(
            f"no folder {raw}",
            expected=f"the videos of collection {collection!r} in it",
            remedy="run `mova corpus`, or put videos there",
        )
    folder = workspace.ingest(collection)
    names = sorted(candidates(raw, config.ingest))
    inspections = _inspections(names, raw, Journal(folder / "probes.jsonl"), config.ingest, collection)
    left_behind = {name: why for name, why in _left_behind(raw).items() if name not in inspections}
    inspections |= {name: Inspection("", 0, "unreadable", why) for name, why in left_behind.items()}
    names = sorted(inspections)
    sources, rejects = _told_apart(names, inspections, collection)
    write_manifest(folder / "rejects.parquet", Reject, rejects)
    write_manifest(folder / "manifest.parquet", Source, sources)
    reasons = Counter(reject.reason for reject in rejects)
    if len(names) != len(sources) + len(rejects):
        raise AssertionError(f"{len(names)} files in, {len(sources)} sources and {len(rejects)} rejects out")
    return StageReport(
        step="ingest",
        rows_in=len(names),
        rows_out=len(sources),
        rejected=dict(sorted(reasons.items())),
        metrics={
            "minutes": sum(source.duration_seconds for source in sources) / 60,
            "variable_frame_rate": float(sum(source.is_variable_frame_rate for source in sources)),
            "rotated": float(sum(source.rotation_degrees != 0 for source in sources)),
        },
        outputs=(str(folder.relative_to(workspace.root)),),
        notes=() if names else (f"{raw.relative_to(workspace.root)} holds no video",),
    )


def candidates(raw: Path, config: IngestConfig) -> Iterator[str]:
    """Every file under `raw`, as a path relative to it, that has to be accounted for: see `IngestConfig`.

    A folder that cannot be listed is one too: what it holds cannot be told.
    """
    unlisted: list[str] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(
        raw, followlinks=True, onerror=lambda error: unlisted.append(error.filename)
    ):
        here = Path(folder)
        # A link to a folder above would be walked without end.
        seen.add(os.path.realpath(folder))
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and os.path.realpath(here / name) not in seen
        ]
        labels = {".json"} if here == raw / LABELS_FOLDER else set()
        ignored = labels.union(config.ignored_suffixes)
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() not in ignored:
                yield str((here / name).relative_to(raw))
    for name in unlisted:
        yield str(Path(name).relative_to(raw))


def _inspections(
    names: list[str], raw: Path, journal: Journal, config: IngestConfig, collection: str
) -> dict[str, Inspection]:
    """One inspection a file; those in the journal are only hashed again, to see that the bytes are the same."""
    rules = [PROBE_VERSION, config.tolerated_loss]
    tasks = []
    for name in names:
        known = journal.entries.get(_key(name), {})
        sha256 = known["found"]["sha256"] if known.get("rules") == rules else ""
        tasks.append(InspectionTask(raw / name, sha256, config.tolerated_loss))
    results: dict[str, Inspection] = {}
    outcomes = make_executor(config.executor).run(inspect, tasks)
    for index, outcome in track(outcomes, f"ingest {collection}", total=len(tasks)):
        name = names[index]
        if outcome is None:
            results[name] = Inspection(**journal.entries[_key(name)]["found"])
            continue
        if isinstance(outcome, WorkerLost):
            outcome = Inspection(sha256="", size_bytes=0, reason="unreadable", detail=outcome.detail)
        journal.add(_key(name), {"rules": rules, "found": asdict(outcome)})
        results[name] = outcome
    journal.settle(_key(name) for name in names)
    return results


def _left_behind(raw: Path) -> dict[str, str]:
    path = raw / LEFT_BEHIND_FILE
    if not path.is_file():
        return {}
    try:
        return {str(name): str(why) for name, why in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path} does not read ({error})",
            expected="what `mova corpus --raw` wrote there",
            remedy="delete it and run `mova corpus --raw` on the same folder again",
        ) from error


def _key(name: str) -> str:
    return content_id(os.fsencode(name).hex())


def _told_apart(
    names: list[str], inspections: dict[str, Inspection], collection: str
) -> tuple[list[Source], list[Reject]]:
    """Sources and rejects, either sorted by id; of files with equal bytes the first by name is the source."""
    sources: dict[str, Source] = {}
    rejects = []
    for name in names:
        found = inspections[name]
        reason, detail = found.reason, found.detail
        if not reason and not _is_text(name):
            reason, detail = "unusable_name", "the name is not UTF-8 text, which manifests need; rename the file"
        if not reason and found.sha256 in sources:
            reason, detail = "duplicate", f"the same bytes as {sources[found.sha256].path}"
        if reason:
            rejects.append(Reject(_key(name), collection, _as_text(name), reason, detail))
        else:
            sources[found.sha256] = _source(name, found, collection)
    return sorted(sources.values(), key=lambda row: row.source_id), sorted(rejects, key=lambda row: row.item_id)


def _source(name: str, found: Inspection, collection: str) -> Source:
    facts: dict[str, Any] = found.facts
    return Source(
        source_id=content_id(collection, found.sha256),
        collection=collection,
        path=name,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        **facts,
    )


def _is_text(name: str) -> bool:
    return _as_text(name) == name


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
