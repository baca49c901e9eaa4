"""The gates: which clips pass, for which phases; and whether the written manifests are what they have to be.

Every threshold of the configuration is one expectation of Great Expectations over the table of scores. `check_gates` is
the blocking asset check of the `curate` step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mova_core.config import Config
from mova_core.config.curation import Gate
from mova_core.config.media import MediaConfig
from mova_core.curation.expectations import Expectation, Outcome, evaluate
from mova_core.curation.journal import Journal
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Clip, Reject, Source
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    import pandas

BETWEEN, IN_SET = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"
KINDS = ("single_speech", "multi_speech", "single_sound", "multi_sound")
PHASES = ("audio", "joint1", "joint2", "joint3")


@dataclass(frozen=True)
class GateResult:
    """One expectation about a written manifest: what was expected, what was there."""

    name: str
    passed: bool
    expected: str
    observed: str


def failed_gates(clips: Sequence[Clip], gates: Sequence[Gate]) -> dict[str, list[Gate]]:
    """Clip id -> the gates it fails, in the order of `gates`; clips that pass them all are left out."""
    if not clips or not gates:
        return {}
    outcomes = evaluate(_table(clips), "clip_id", [_gate_expectation(index, gate) for index, gate in enumerate(gates)])
    failed: dict[str, list[Gate]] = {}
    for gate, outcome in zip(gates, outcomes, strict=True):
        for clip_id in outcome.failing:
            failed.setdefault(clip_id, []).append(gate)
    return failed


def check_gates(config: Config, workspace: Workspace, collection: str) -> list[GateResult]:
    """`validate_clips` on what `curate` wrote for a collection.

    Raises
    ------
    UserError : if there is no manifest.
    """
    folder = workspace.clips(collection)
    return validate_clips(
        read_manifest(folder / "manifest.parquet", Clip),
        read_manifest(folder / "rejects.parquet", Reject),
        num_candidates=num_candidates(Journal(folder / "sources.jsonl")),
        folder=folder,
        media=config.media,
        gates=config.curate.gates,
    )


def validate_clips(
    clips: Sequence[Clip],
    rejects: Sequence[Reject],
    *,
    num_candidates: int,
    folder: Path,
    media: MediaConfig,
    gates: Sequence[Gate],
) -> list[GateResult]:
    """Evaluates the suite of the clip manifest.

    Parameters
    ----------
    num_candidates : windows that were looked at, and sources without a window.
    folder : the collection's clips folder, where each clip's file has to be.
    """
    table = _table(clips)
    table["file_bytes"] = [_size_of(folder / clip.path) for clip in clips]
    table["splits_of_source"] = table.groupby("source_id")["split"].transform("nunique")
    table["phases"] = [",".join(clip.phases) for clip in clips]
    canonical = {
        "num_frames": media.num_frames,
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
        "sample_rate_hz": media.sample_rate_hz,
    }
    expectations = [
        Expectation("unique_ids", "ExpectColumnValuesToBeUnique", {"column": "clip_id"}),
        Expectation("unique_paths", "ExpectColumnValuesToBeUnique", {"column": "path"}),
        Expectation("files_there", BETWEEN, {"column": "file_bytes", "min_value": 1}),
        Expectation("known_splits", IN_SET, {"column": "split", "value_set": ["train", "val"]}),
        Expectation("sources_on_one_side", IN_SET, {"column": "splits_of_source", "value_set": [1]}),
        Expectation("known_kinds", IN_SET, {"column": "kind", "value_set": list(KINDS)}),
        Expectation("known_phases", "ExpectColumnValuesToMatchRegex", {"column": "phases", "regex": _phase_regex()}),
        Expectation("starts_in_source", BETWEEN, {"column": "start_seconds", "min_value": 0}),
        *(
            Expectation(f"canonical_{name}", IN_SET, {"column": name, "value_set": [value]})
            for name, value in canonical.items()
        ),
        *(_gate_expectation(index, gate) for index, gate in enumerate(gates)),
    ]
    results = [_result(outcome) for outcome in _evaluated(table, "clip_id", expectations)]
    return [*results, *_accounts(clips, rejects, num_candidates)]


def validate_ingest(
    sources: Sequence[Source], rejects: Sequence[Reject], *, num_candidates: int, raw: Path
) -> list[GateResult]:
    """Evaluates the suite of the ingest manifest.

    Parameters
    ----------
    num_candidates : files found under `raw`, the collection's folder.
    """
    import pandas

    table = pandas.DataFrame([asdict(source) for source in sources], columns=[field.name for field in fields(Source)])
    table["file_bytes"] = [_size_of(raw / source.path) for source in sources]
    positive = ("duration_seconds", "width", "height", "fps", "num_frames", "sample_rate_hz", "num_audio_channels")
    expectations = [
        Expectation("unique_ids", "ExpectColumnValuesToBeUnique", {"column": "source_id"}),
        Expectation("unique_paths", "ExpectColumnValuesToBeUnique", {"column": "path"}),
        Expectation("no_duplicates", "ExpectColumnValuesToBeUnique", {"column": "sha256"}),
        Expectation("files_there", BETWEEN, {"column": "file_bytes", "min_value": 1}),
        Expectation("right_angles", IN_SET, {"column": "rotation_degrees", "value_set": [0, 90, 180, 270]}),
        *(
            Expectation(f"positive_{name}", BETWEEN, {"column": name, "min_value": 0, "strict_min": True})
            for name in positive
        ),
    ]
    results = [_result(outcome) for outcome in _evaluated(table, "source_id", expectations)]
    return [*results, _all_accounted_for(num_candidates, len(sources), len(rejects))]


def _accounts(clips: Sequence[Clip], rejects: Sequence[Reject], num_candidates: int) -> list[GateResult]:
    accepted, rejected = {clip.clip_id for clip in clips}, {reject.item_id for reject in rejects}
    both, mute = accepted & rejected, [reject.item_id for reject in rejects if not (reject.reason and reject.detail)]
    return [
        _all_accounted_for(num_candidates, len(clips), len(rejects)),
        GateResult("rejected_once", len(rejected) == len(rejects), "distinct ids", f"{len(rejected)} ids"),
        GateResult("accepted_or_rejected", not both, "no clip is both", f"{len(both)} are"),
        GateResult("reasons_given", not mute, "every reject says why", f"{len(mute)} do not"),
    ]


def _all_accounted_for(num_in: int, num_out: int, num_rejects: int) -> GateResult:
    observed = f"{num_out} accepted and {num_rejects} rejected"
    return GateResult("all_accounted_for", num_out + num_rejects == num_in, f"{num_in} rows", observed)


def _evaluated(table: pandas.DataFrame, id_column: str, expectations: Sequence[Expectation]) -> list[Outcome]:
    """No row, nothing to expect of rows."""
    return evaluate(table, id_column, expectations) if len(table) else []


def _gate_expectation(index: int, gate: Gate) -> Expectation:
    bound = {"column": gate.score, "min_value": gate.at_least, "max_value": gate.at_most}
    return Expectation(f"gate {index}: {gate.reason}", BETWEEN, bound)


def _result(outcome: Outcome) -> GateResult:
    arguments = {name: value for name, value in outcome.expectation.arguments.items() if value is not None}
    column = arguments.pop("column")
    expected = f"{column}: " + (", ".join(f"{name} {value}" for name, value in arguments.items()) or "unique")
    return GateResult(outcome.expectation.name, outcome.passed, expected, outcome.observed)


def _table(clips: Sequence[Clip]) -> pandas.DataFrame:
    import pandas

    names = [field.name for field in fields(Clip)]
    return pandas.DataFrame([[getattr(clip, name) for name in names] for clip in clips], columns=names)


def _phase_regex() -> str:
    any_phase = "|".join(PHASES)
    return f"^(?:(?:{any_phase})(?:,(?:{any_phase}))*)?$"


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def num_candidates(journal: Journal) -> int:
    """Rows that `curate` has to account for: every window looked at, and one for a source without any."""
    return sum(max(len(entry["clips"]), 1) for entry in journal.entries.values())
