"""What runs without being asked: the nightly re-curation, and the pick-up of new collection folders."""

import json
import re
from pathlib import Path

import dagster as dg

from mova_core.config import COLLECTION_NAME
from mova_core.steps import STEPS
from orchestration.partitions import COLLECTIONS
from orchestration.resources import LineageFolder

PER_COLLECTION = [step.name for step in STEPS if step.per_collection]
SECONDS_BETWEEN_LOOKS = 30

curate_collection = dg.define_asset_job(
    "curate_collection",
    selection=dg.AssetSelection.assets(*PER_COLLECTION),
    description="Raw videos of one collection to captioned clips. Files already done are skipped.",
)


@dg.schedule(
    job=curate_collection,
    cron_schedule="0 2 * * *",
    description="Every night, every collection again: files added since are taken up. Off until switched on.",
)
def nightly_recuration(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """One run a collection; the run key holds the night, so a restarted scheduler asks once."""
    night = context.scheduled_execution_time.strftime("%Y-%m-%d")
    collections = context.instance.get_dynamic_partitions(str(COLLECTIONS.name))
    return [dg.RunRequest(run_key=f"{night}/{name}", partition_key=name) for name in sorted(collections)]


@dg.sensor(
    job=curate_collection,
    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes up a new folder under data/raw once its files have stopped changing.",
)
def new_collection(context: dg.SensorEvaluationContext, folder: LineageFolder) -> dg.SensorResult:
    """Adds a partition for each new, settled folder and asks for its curation.

    The cursor holds what each unknown folder looked like at the last look: one that still changes is being copied, and
    waits. params.yaml is the user's to edit: the clips are ready for training, and `encode` reads them once the
    collection is listed there.
    """
    raw = folder.workspace().raw_root
    known = set(context.instance.get_dynamic_partitions(str(COLLECTIONS.name)))
    unknown = {
        entry.name: _look(entry) for entry in sorted(raw.glob("*")) if entry.is_dir() and entry.name not in known
    }
    before = json.loads(context.cursor) if context.cursor else {}
    badly_named = [name for name in unknown if not re.match(COLLECTION_NAME, name)]
    settled = [name for name, look in unknown.items() if look and before.get(name) == look and name not in badly_named]
    if badly_named:
        context.log.warning(f"not taken up: {badly_named}; a collection's name has letters, digits, '-' and '_' only")
    cursor = json.dumps(unknown, sort_keys=True)
    if not settled:
        reason = f"{len(unknown)} new folders in {raw}, none of them both settled and well named"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    unlisted = sorted(set(settled) - set(folder.config().collections))
    if unlisted:
        context.log.info(f"to train on {unlisted}, add them to `collections` in params.yaml")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{name}/{unknown[name]}", partition_key=name) for name in settled],
        dynamic_partitions_requests=[COLLECTIONS.build_add_request(settled)],
        cursor=cursor,
    )


def _look(folder: Path) -> str:
    """Number of files, bytes and latest change of a folder in one line; empty while it holds no file."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    if not stats:
        return ""
    return f"{len(stats)} {sum(stat.st_size for stat in stats)} {max(stat.st_mtime_ns for stat in stats)}"
