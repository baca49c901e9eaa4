"""`mova corpus`: renders what is not there yet, and lays the real footage beside it.

Every video is whole or absent and followed by its label sidecar, so a run that was killed goes on with the first video
that has none. A changed configuration, seed or renderer starts over.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mova_core.config import Config
from mova_core.curation.corpus.faults import SpoiltVideo, plan_faults
from mova_core.curation.corpus.footage import lay_footage
from mova_core.curation.corpus.plan import VideoPlan, plan_corpus
from mova_core.curation.corpus.preview import write_contact_sheet
from mova_core.curation.corpus.render import Cost, render_video, video_truth
from mova_core.curation.executor import LocalExecutor, WorkerLost
from mova_core.data.truth import SourceTruth
from mova_core.errors import UserError
from mova_core.files import content_id, write_text, written_aside
from mova_core.progress import say, track
from mova_core.report import StageReport
from mova_core.workers import available_cores
from mova_core.workspace import Workspace

COLLECTION, FOOTAGE_COLLECTION = "demo", "footage"
# What the pictures and sounds depend on besides configuration and seed.
RENDERER = ("mova_core.curation.corpus", "mova_core.curation.corpus.scenes", "mova_core.data.media")


@dataclass(frozen=True)
class RenderTask:
    """One file to make: an ordinary video, or a spoilt one."""

    video: VideoPlan | SpoiltVideo
    folder: Path

    @property
    def stem(self) -> str:
        return self.video.name if isinstance(self.video, VideoPlan) else self.video.stem

    @property
    def path(self) -> Path:
        return self.folder / f"{self.stem}.mp4"

    @property
    def sidecar(self) -> Path:
        return self.folder / "labels" / f"{self.stem}.json"

    def truth(self) -> SourceTruth:
        if isinstance(self.video, VideoPlan):
            return video_truth(self.video, self.path.name)
        return self.video.truth(self.path.name)


def run(config: Config, workspace: Workspace) -> StageReport:
    """Makes data/raw/demo and data/raw/footage.

    The report's metrics: `minutes` of ordinary video in `files` ordinary files; `clips_that_fit`, whole clips on single
    shots; `events_per_clip`; and, of what this run rendered, `frames_per_second` and `floor_frames_per_second`, the
    rate at which the encoders alone would have been done.
    """
    folder = workspace.raw(COLLECTION)
    clip_seconds = config.media.clip_seconds
    plans = plan_corpus(config.corpus, clip_seconds, config.seed)
    faults = plan_faults(config.corpus, clip_seconds, config.seed, plans[0]) if config.corpus.faults else []
    videos: list[VideoPlan | SpoiltVideo] = [*plans, *faults]
    tasks = [RenderTask(video, folder) for video in videos]
    _start_over_if_changed(folder, _recipe(config))
    speeds = _render_missing(tasks)
    if faults:
        _write_fault_index(folder, faults)
    footage = lay_footage(workspace.raw(FOOTAGE_COLLECTION))
    previews = _write_previews(workspace, plans, clip_seconds)
    return StageReport(
        step="corpus",
        rows_out=len(tasks) + len(footage),
        metrics={**_contents(plans, clip_seconds), **speeds},
        previews=tuple(previews),
        outputs=tuple(
            str(workspace.raw(name).relative_to(workspace.root)) for name in (COLLECTION, FOOTAGE_COLLECTION)
        ),
        notes=(f"{len(faults)} videos of {COLLECTION} are spoilt on purpose; labels/faults.json names them.",)
        if faults
        else (),
    )


def render_task(task: RenderTask) -> Cost:
    """Makes one video, then its sidecar. Runs in a worker process."""
    with written_aside(task.path) as aside:
        cost = task.video.render(aside) if isinstance(task.video, SpoiltVideo) else render_video(task.video, aside)
    write_text(task.sidecar, task.truth().to_json())
    return cost


def _recipe(config: Config) -> str:
    sources = [
        entry.read_text(encoding="utf-8")
        for package in RENDERER
        for entry in sorted(resources.files(package).iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".py")
    ]
    return content_id(config.seed, config.media.clip_seconds, config.corpus.model_dump_json(), *sources)


def _start_over_if_changed(folder: Path, recipe: str) -> None:
    """Removes what another recipe made, and nothing that was not made here."""
    note = folder / "labels" / ".recipe"
    if not (note.is_file() and note.read_text(encoding="utf-8") == recipe):
        note.unlink(missing_ok=True)
        for sidecar in sorted((folder / "labels").glob("*.json")):
            (folder / f"{sidecar.stem}.mp4").unlink(missing_ok=True)
            sidecar.unlink()
        write_text(note, recipe)
    for leftover in [*folder.glob(".*.tmp*"), *(folder / "labels").glob(".*.tmp*")]:
        if not _is_running(leftover.name.split(".tmp")[0].rpartition(".")[2]):
            leftover.unlink(missing_ok=True)


def _is_running(process_id: str) -> bool:
    """Whether a process of that number is at work: then the unfinished file is its own business."""
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return not _is_defunct(process_id)


def _is_defunct(process_id: str) -> bool:
    """Whether the process has ended and only waits for its parent to take note. An orphan of a killed run stays like
    that for as long as a container's first process does not look after others' children."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:  # gone meanwhile, or a system without /proc
        return False
    return state.split()[0] in ("Z", "X")


def _render_missing(tasks: list[RenderTask]) -> dict[str, float]:
    missing = [task for task in tasks if not (task.sidecar.is_file() and task.path.is_file())]
    if not missing:
        say(f"corpus: all {len(tasks)} videos are there")
        return {}
    workers = min(available_cores(), len(missing))
    say(f"corpus: rendering {len(missing)} of {len(tasks)} videos in {workers} processes")
    started = time.perf_counter()
    costs: list[Cost] = []
    results = LocalExecutor(workers).run(render_task, missing)
    for index, cost in track(results, "corpus: videos", total=len(missing)):
        if isinstance(cost, WorkerLost):
            raise UserError(
                f"the process that rendered {missing[index].path.name} was killed",
                expected="it to end by itself",
                remedy="see that about 300 MB a core are free and run the same command again",
            )
        costs.append(cost)
    elapsed = time.perf_counter() - started
    frames = sum(cost.num_frames for cost in costs)
    floor = sum(cost.encode_seconds for cost in costs) / workers
    say(
        f"corpus: {frames} frames in {elapsed:.1f} s, {frames / elapsed:.0f} frames/s; "
        f"floor {floor:.1f} s, {frames / floor:.0f} frames/s (the encoders alone on {workers} cores)"
    )
    return {"frames_per_second": frames / elapsed, "floor_frames_per_second": frames / floor}


def _contents(plans: list[VideoPlan], clip_seconds: float) -> dict[str, float]:
    seconds = sum(plan.duration_seconds for plan in plans)
    shots = [shot for plan in plans for shot in plan.shots]
    minutes: dict[str, float] = {}
    for shot in shots:
        minutes[shot.label] = minutes.get(shot.label, 0.0) + (shot.end_seconds - shot.start_seconds) / 60
    return {
        "minutes": seconds / 60,
        "files": len(plans),
        "shots": len(shots),
        "clips_that_fit": sum(int((shot.end_seconds - shot.start_seconds) / clip_seconds) for shot in shots),
        "events_per_clip": sum(len(shot.strokes) for shot in shots) / seconds * clip_seconds,
        **{f"minutes_{label}": minutes[label] for label in sorted(minutes)},
    }


def _write_fault_index(folder: Path, faults: list[SpoiltVideo]) -> None:
    index = {f"{video.stem}.mp4": {"name": video.fault.name, "detail": video.fault.detail} for video in faults}
    write_text(
        folder / "labels" / "faults.json", json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    )


def _write_previews(workspace: Workspace, plans: list[VideoPlan], clip_seconds: float) -> list[str]:
    labels = sorted({shot.label for plan in plans for shot in plan.shots})
    paths = []
    for label in labels:
        path = workspace.reports / "previews" / f"corpus-{label}.png"
        write_contact_sheet(path, label, plans, workspace.raw(COLLECTION), clip_seconds)
        paths.append(str(path.relative_to(workspace.root)))
    return paths
