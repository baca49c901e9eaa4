"""`mova curate`: sources cut into clips of one form, scored and gated.

Reads data/ingest/<collection>/manifest.parquet and the raw videos; writes data/clips/<collection>/ with
manifest.parquet, rejects.parquet, clips/<clip_id>.mp4, and sources.jsonl: what every source gave, accepted or not.
By it a run that was killed goes on where it stopped, and changed gates need no decoding but for clips that now pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mova_core.config import Config
from mova_core.config.curation import CurateConfig, Gate, PhaseName
from mova_core.curation.executor import WorkerLost, make_executor
from mova_core.curation.gates import KINDS, check_gates, failed_gates
from mova_core.curation.ingest import LABELS_FOLDER
from mova_core.curation.journal import Journal
from mova_core.curation.previews import write_previews
from mova_core.curation.source import CURATE_VERSION, Cost, SourceOutcome, SourceTask, curate_source
from mova_core.curation.thresholds import bounds, passes
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.records import Clip, Reject, Source
from mova_core.errors import UserError
from mova_core.files import content_id, sha256_of_file
from mova_core.progress import say, track
from mova_core.report import StageReport
from mova_core.workspace import Workspace

PHASES: tuple[PhaseName, ...] = ("audio", "joint1", "joint2", "joint3")
APPLIED_AFTERWARDS = {"gates", "phase_gates", "val_fraction", "executor", "frame_buffer_mib"}


def run(config: Config, workspace: Workspace, collection: str) -> StageReport:
    """Cuts, scores and gates a collection.

    Raises
    ------
    UserError : if the collection was not ingested, or the written manifest fails its own expectations.
    """
    folder = workspace.clips(collection)
    sources = read_manifest(workspace.ingest(collection) / "manifest.parquet", Source)
    tasks = [_task(config, workspace, source) for source in sources]
    outcomes = _outcomes(tasks, Journal(folder / "sources.jsonl"), collection)
    clips, rejects = gated(sources, outcomes, config.curate)
    write_manifest(folder / "rejects.parquet", Reject, rejects)
    write_manifest(folder / "manifest.parquet", Clip, clips)
    _remove_all_but({Path(clip.path).name for clip in clips}, folder / "clips")
    _hold_to_expectations(config, workspace, collection)
    reasons = Counter(reject.reason for reject in rejects)
    return StageReport(
        step="curate",
        rows_in=len(clips) + len(rejects),
        rows_out=len(clips),
        rejected=dict(sorted(reasons.items())),
        metrics=_metrics(clips),
        previews=tuple(write_previews(workspace, collection, clips, reasons)),
        outputs=(str(folder.relative_to(workspace.root)),),
    )


def split_sources(sources: Sequence[Source], val_fraction: float) -> dict[str, str]:
    """Source id -> ``train`` or ``val``: held out in the order of hashes, until the fraction of the time is reached.

    At least one source is held out (unless the fraction is 0) and at least one is not; a single one is for training.
    """
    wanted = val_fraction * sum(source.duration_seconds for source in sources)
    splits, held_out = {}, 0.0
    for place, source in enumerate(sorted(sources, key=lambda source: source.sha256)):
        is_held_out = held_out < wanted and place + 1 < len(sources)
        splits[source.source_id] = "val" if is_held_out else "train"
        held_out += source.duration_seconds
    return splits


def gated(
    sources: Sequence[Source], outcomes: Sequence[SourceOutcome], config: CurateConfig
) -> tuple[list[Clip], list[Reject]]:
    """Accepted clips, with their split and phases, and rejects; either sorted by id."""
    splits = split_sources(sources, config.val_fraction)
    candidates = [clip for outcome in outcomes for clip in outcome.clips]
    distinct = list(dict.fromkeys([*config.gates, *(gate for gates in config.phase_gates.values() for gate in gates)]))
    failed = failed_gates(candidates, distinct)
    paths = {source.source_id: source.path for source in sources}
    clips, rejects = [], []
    for clip in candidates:
        reasons = [gate for gate in failed.get(clip.clip_id, []) if gate in config.gates]
        if bool(reasons) == passes(clip, config.gates):
            raise AssertionError(f"clip {clip.clip_id}: the expectations and the plain comparison disagree")
        if reasons:
            rejects.append(_reject(clip, reasons, paths[clip.source_id]))
        else:
            phases = _phases(failed.get(clip.clip_id, []), config.phase_gates)
            clips.append(replace(clip, split=splits[clip.source_id], phases=phases))
    for source, outcome in zip(sources, outcomes, strict=True):
        if not outcome.clips:
            rejects.append(Reject(source.source_id, source.collection, source.path, outcome.reason, outcome.detail))
    return sorted(clips, key=lambda clip: clip.clip_id), sorted(rejects, key=lambda reject: reject.item_id)


def _phases(failed: Sequence[Gate], phase_gates: Mapping[PhaseName, Sequence[Gate]]) -> list[str]:
    return [phase for phase in PHASES if not any(gate in failed for gate in phase_gates[phase])]


def _reject(clip: Clip, gates: Sequence[Gate], path: str) -> Reject:
    found = [f"{gate.score} is {getattr(clip, gate.score):.4g}, expected {bounds(gate)}" for gate in gates]
    return Reject(clip.clip_id, clip.collection, path, gates[0].reason, "; ".join(found))


def _task(config: Config, workspace: Workspace, source: Source) -> SourceTask:
    raw = workspace.raw(source.collection)
    return SourceTask(
        source=source,
        path=raw / source.path,
        truth_path=raw / LABELS_FOLDER / f"{Path(source.path).stem}.json",
        folder=workspace.clips(source.collection),
        media=config.media,
        config=config.curate,
        seed=config.seed,
    )


def _outcomes(tasks: Sequence[SourceTask], journal: Journal, collection: str) -> list[SourceOutcome]:
    """What each source gave, from the journal where it is done and by cutting it where it is not."""
    keys = [_key(task) for task in tasks]
    outcomes: dict[int, SourceOutcome] = {}
    for index, (task, key) in enumerate(zip(tasks, keys, strict=True)):
        outcome = SourceOutcome.from_values(journal.entries.get(key))
        if outcome is not None and _is_done(outcome, task):
            outcomes[index] = outcome
    # The longest first: none is left to run alone at the end.
    missing = [index for index in range(len(tasks)) if index not in outcomes]
    missing.sort(key=lambda index: -tasks[index].source.num_frames)
    if tasks:
        say(f"curate {collection}: {len(missing)} of {len(tasks)} sources to cut")
        results = make_executor(tasks[0].config.executor).run(curate_source, [tasks[index] for index in missing])
        costs = []
        for position, result in track(results, f"curate {collection}", total=len(missing)):
            index = missing[position]
            if isinstance(result, WorkerLost):
                outcomes[index] = SourceOutcome([], "worker_lost", result.detail)
            else:
                outcomes[index], cost = result
                costs.append(cost)
            journal.add(keys[index], outcomes[index].to_values())
        _say_costs(collection, costs)
    journal.settle(keys)
    return [outcomes[index] for index in range(len(tasks))]


def _key(task: SourceTask) -> str:
    """Equal for what gives equal clips and scores; gates and split are applied afterwards."""
    settings = task.config.model_dump_json(exclude=APPLIED_AFTERWARDS)
    labels = sha256_of_file(task.truth_path) if task.truth_path.is_file() else ""
    source = task.source
    return content_id(
        CURATE_VERSION, source.path, source.sha256, labels, task.media.model_dump_json(), settings, task.seed
    )


def _is_done(outcome: SourceOutcome, task: SourceTask) -> bool:
    """Sources that gave nothing are tried again: the file may have been mended, or memory may suffice this time."""
    wanted = [clip for clip in outcome.clips if passes(clip, task.config.gates)]
    return bool(outcome.clips) and all((task.folder / clip.path).is_file() for clip in wanted)


def _remove_all_but(names: set[str], folder: Path) -> None:
    """Removes clips that other settings made, and what a kill left half written."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()


def _hold_to_expectations(config: Config, workspace: Workspace, collection: str) -> None:
    broken = [result for result in check_gates(config, workspace, collection) if not result.passed]
    if broken:
        first = broken[0]
        raise UserError(
            f"the manifest of collection {collection!r} fails {first.name} ({first.observed})",
            expected=first.expected,
            remedy=f"delete {workspace.clips(collection)} and run `mova curate` again",
        )


def _metrics(clips: Sequence[Clip]) -> dict[str, float]:
    kinds = Counter(clip.kind for clip in clips)
    phases = Counter(phase for clip in clips for phase in clip.phases)
    return {
        "minutes": sum(clip.duration_seconds for clip in clips) / 60,
        "val_clips": sum(clip.split == "val" for clip in clips),
        **{f"kind_{kind}": float(kinds[kind]) for kind in KINDS},
        **{f"phase_{phase}": float(phases[phase]) for phase in PHASES},
    }


def _say_costs(collection: str, costs: Sequence[Cost]) -> None:
    total, decode, encode = (
        sum(getattr(cost, name) for cost in costs) for name in ("total_seconds", "decode_seconds", "encode_seconds")
    )
    if costs:
        say(
            f"curate {collection}: {total:.1f} worker seconds; the floor is {decode + encode:.1f}, "
            f"{decode:.1f} in decoders and {encode:.1f} in encoders"
        )
