"""`mova sample --prompts`: a clip for each line of a file, in batches, resumable, with one manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError
from mova_core.files import locked
from mova_core.inference.identity import identify
from mova_core.inference.inputs import Settings
from mova_core.inference.prompt_folder import LOCK_FILE, Made, PromptFolder, Wanted
from mova_core.inference.prompt_lines import read_prompts
from mova_core.inference.refinement.record import Refinement, Refiner
from mova_core.inference.running import Machine, RunOptions, choose_machine, load, make_clips, watcher
from mova_core.inference.saving import check_folder, preview_path, record_of, refined_record, save_clip
from mova_core.inference.source import Source, find_source
from mova_core.progress import ticking
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    from mova_core.inference.pipeline import MovaPipeline


def sample_prompts(
    workspace: Workspace,
    prompts: Path,
    out: Path,
    *,
    common: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
    options: RunOptions | None = None,
    refiner: Refiner | None = None,
    batch_size: int = 1,
    replace: bool = False,
) -> str:
    """Makes the clips of a prompts file that `out` lacks; returns a sentence on what was done.

    Batches are formed over the whole file and made whole, so a run that goes on makes the same clips as an undisturbed
    one.

    Parameters
    ----------
    prompts, common : see `read_prompts`; relative paths in the file count from where it lies.
    out : a folder; see `PromptFolder`.
    checkpoint, options, refiner : as `generate_clip` has them. Each line's prompt is refined when its clip is made.
    replace : make clips again that `out` has from other words, files, settings or weights.

    Raises
    ------
    UserError : for input that cannot work, before any model is loaded.
    """
    options = options or RunOptions()
    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}", expected="at least 1", remedy="leave it out")
    check_folder(out)
    source = find_source(workspace, checkpoint)
    planned = read_prompts(prompts, common or {}, source.defaults.settings)
    machine = choose_machine(source, options)
    identity = identify(source.folder, source.codecs)
    refined_by = {} if refiner is None else {"refined_by": refiner.name}
    wanted = [
        Wanted(item, {**record_of(item.request, item.settings, identity, machine.dtype_name), **refined_by})
        for item in planned
    ]
    with locked(out / LOCK_FILE, "mova sample"):
        return _fill(PromptFolder(out), wanted, source, machine, options, refiner, batch_size, replace)


def _fill(
    folder: PromptFolder,
    wanted: Sequence[Wanted],
    source: Source,
    machine: Machine,
    options: RunOptions,
    refiner: Refiner | None,
    batch_size: int,
    replace: bool,
) -> str:
    pending = {item.id for item in folder.begin(wanted, replace)}
    batches = [batch for batch in batches_of(wanted, batch_size) if pending & {item.id for item in batch}]
    if not batches:
        return f"{folder.path} has all {len(wanted)} clips: nothing to do"
    started = time.monotonic()
    pipeline = load(source, machine)
    order = [item.id for item in wanted]
    with ticking("denoise", sum(map(_num_steps, batches))) as tick:
        for batch in batches:
            folder.add(_make(batch, folder, pipeline, options, refiner, tick), order)
    made = sum(map(len, batches))
    return (
        f"made {made} clips in {time.monotonic() - started:.1f} s, the other {len(wanted) - made} were there; "
        f"{folder.manifest} lists all {len(wanted)}"
    )


def batches_of(wanted: Iterable[Wanted], batch_size: int) -> list[list[Wanted]]:
    """Clips that can be sampled together: of equal settings, negative prompt and kinds of given files."""
    groups: dict[tuple[Settings, str, tuple[str, ...]], list[Wanted]] = {}
    for item in wanted:
        request = item.planned.request
        groups.setdefault((item.planned.settings, request.negative_prompt, tuple(request.given())), []).append(item)
    return [
        group[start : start + batch_size] for group in groups.values() for start in range(0, len(group), batch_size)
    ]


def _num_steps(batch: Sequence[Wanted]) -> int:
    """Extended clips are made one by one, others together."""
    steps = [item.planned.num_steps for item in batch]
    return sum(steps) if batch[0].planned.request.extend is not None else steps[0]


def _make(
    batch: Sequence[Wanted],
    folder: PromptFolder,
    pipeline: MovaPipeline,
    options: RunOptions,
    refiner: Refiner | None,
    tick: Callable[[], None],
) -> list[Made]:
    """Samples and writes a batch."""
    settings = batch[0].planned.settings
    sample_rate_hz = pipeline.codecs.audio.sample_rate_hz
    requests = [item.planned.request for item in batch]
    refinements: list[Refinement | None] = [
        None if refiner is None else refiner.refine(request.prompt, request.image) for request in requests
    ]
    paths = [folder.clip_path(item) for item in batch]
    on_step = watcher(pipeline, settings, tick, options.preview_every, [preview_path(path) for path in paths])
    records = [
        item.record if refined is None else {**item.record, **refined_record(refined)}
        for item, refined in zip(batch, refinements, strict=True)
    ]
    prompts = [record["prompt"] for record in records]
    clips = make_clips(pipeline, requests, prompts, settings, on_step)
    made = []
    for item, path, record, (frames, audio) in zip(batch, paths, records, clips, strict=True):
        sha256 = save_clip(path, frames, audio, sample_rate_hz, record, lossless_audio=options.lossless_audio)
        made.append(Made(item, record, sha256))
    return made
