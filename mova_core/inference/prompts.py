"""`mova sample --prompts`: a clip for each line of a file, in batches, resumable, with one manifest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError
from mova_core.files import locked
from mova_core.inference.identity import identify
from mova_core.inference.inputs import Settings
from mova_core.inference.processes import check_spread, from_first, gathered, index, is_first, joined, num_processes
from mova_core.inference.prompt_folder import LOCK_FILE, Made, PromptFolder, Wanted
from mova_core.inference.prompt_lines import read_prompts
from mova_core.inference.refinement.record import Refiner
from mova_core.inference.running import Machine, RunOptions, choose_machine, load, make_clips, watcher
from mova_core.inference.saving import Record, check_folder, preview_path, record_of, refined_record, save_clip
from mova_core.inference.sharing import Parallel, Sharing
from mova_core.inference.source import Source, find_source
from mova_core.progress import say, ticking
from mova_core.workspace import Workspace

if TYPE_CHECKING:
    from mova_core.inference.pipeline import MovaPipeline


@dataclass(frozen=True)
class Way:
    """How clips are made, whichever they are; see `sample_prompts`."""

    source: Source
    machine: Machine
    options: RunOptions
    refiner: Refiner | None
    sharing: Sharing


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
    parallel: Parallel = "prompts",
) -> str:
    """Makes the clips of a prompts file that `out` lacks; returns a sentence on what was done.

    Where torchrun started several processes they share the work; the first returns the sentence and the others "".

    Batches are formed over the whole file and made whole, so a run that goes on makes the same clips as an undisturbed
    one.

    Parameters
    ----------
    prompts, common : see `read_prompts`; relative paths in the file count from where it lies.
    out : a folder; see `PromptFolder`.
    checkpoint, options, refiner : as `generate_clip` has them. Prompts are refined and encoded a few clips ahead.
    replace : make clips again that `out` has from other words, files, settings or weights.
    parallel : how several processes share the work; see `mova_core.inference.sharing`.

    Raises
    ------
    UserError : for input that cannot work, before any model is loaded.
    """
    options = options or RunOptions()
    sharing = Sharing(parallel)
    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}", expected="at least 1", remedy="leave it out")
    check_folder(out)
    source = find_source(workspace, checkpoint)
    if sharing.spreads:
        check_spread(source.folder)
    planned = read_prompts(prompts, common or {}, source.defaults.settings)
    machine = choose_machine(source, options)
    identity = identify(source.folder, source.codecs)
    refined_by = {} if refiner is None else {"refined_by": refiner.name}
    wanted = [
        Wanted(item, {**record_of(item.request, item.settings, identity, machine.dtype_name), **refined_by})
        for item in planned
    ]
    with (
        joined(machine.device.type, sharing.patience),
        locked(out / LOCK_FILE, "mova sample") if is_first() else contextlib.nullcontext(),
    ):
        return _fill(PromptFolder(out), wanted, Way(source, machine, options, refiner, sharing), batch_size, replace)


def _fill(folder: PromptFolder, wanted: Sequence[Wanted], way: Way, batch_size: int, replace: bool) -> str:
    pending = from_first(lambda: {item.id for item in folder.begin(wanted, replace)})
    batches = [batch for batch in batches_of(wanted, batch_size) if pending & {item.id for item in batch}]
    if not batches:
        return f"{folder.path} has all {len(wanted)} clips: nothing to do" if is_first() else ""
    started = time.monotonic()
    order = [item.id for item in wanted]
    alone = num_processes() > 1 and not way.sharing.spreads
    if alone and len(batches) < num_processes():
        say(f"{len(batches)} batches for {num_processes()} processes: the others wait (--parallel sequence uses all)")
    made = _make_all(way.sharing.own(batches), folder, order, way)
    rows = [row for others in gathered([item.row for item in made]) for row in others]
    if not is_first():
        return ""
    if alone:
        folder.take_over(rows, order)
    total = sum(map(len, batches))
    return (
        f"made {total} clips in {time.monotonic() - started:.1f} s, the other {len(wanted) - total} were there; "
        f"{folder.manifest} lists all {len(wanted)}"
    )


def _make_all(batches: Sequence[Sequence[Wanted]], folder: PromptFolder, order: Sequence[str], way: Way) -> list[Made]:
    """Samples and writes this process's batches, and puts each into the manifest before the next begins."""
    if not batches:
        return []
    pipeline = load(way.source, way.machine, spread=way.sharing.spreads)
    from mova_core.inference.texts import MOST_KEPT  # with torch, which is loaded by now

    written = []
    with ticking("denoise", sum(map(_num_steps, batches))) as tick:
        for group in groups_of(batches, MOST_KEPT):
            worded = [_worded(batch, way) for batch in group]
            _encode_texts(worded, pipeline)
            for batch in worded:
                made = _make(batch, folder, pipeline, way, tick)
                if is_first():
                    folder.add(made, order)
                elif made:
                    folder.add_beside(made, index())
                written += made
    return written


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


def groups_of(batches: Iterable[Sequence[Wanted]], size: int) -> list[list[Sequence[Wanted]]]:
    """Batches in a row that together have `size` clips or fewer; a larger one stands alone."""
    groups: list[list[Sequence[Wanted]]] = []
    for batch in batches:
        if groups and sum(map(len, groups[-1])) + len(batch) <= size:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return groups


@dataclass(frozen=True)
class Worded:
    """A batch with its clips' records, which tell the prompts that are sampled: refined ones, where that was asked."""

    clips: Sequence[Wanted]
    records: Sequence[Record]

    @property
    def prompts(self) -> list[str]:
        return [record["prompt"] for record in self.records]


def _worded(batch: Sequence[Wanted], way: Way) -> Worded:
    refiner = way.refiner
    if refiner is None:
        return Worded(batch, [item.record for item in batch])
    requests = [item.planned.request for item in batch]
    refinements = way.sharing.once_a_batch(
        lambda: [refiner.refine(request.prompt, request.image) for request in requests]
    )
    records = [{**item.record, **refined_record(refined)} for item, refined in zip(batch, refinements, strict=True)]
    return Worded(batch, records)


def _encode_texts(group: Sequence[Worded], pipeline: MovaPipeline) -> None:
    """Encodes the texts of a group, batch by batch as sampling will ask for them: the text encoder comes once."""
    from mova_core.inference.fitting import check_sizes
    from mova_core.inference.texts import Wording, wording_of

    wordings: list[Wording] = []
    for batch in group:
        request, settings = batch.clips[0].planned.request, batch.clips[0].planned.settings
        check_sizes(pipeline.model, pipeline.codecs, settings)
        # Extended clips are made one by one, others together.
        asked = [[prompt] for prompt in batch.prompts] if request.extend is not None else [batch.prompts]
        if not wordings:
            pipeline.prepare(settings, len(asked[0]), len(asked[0]))
        wordings += [wording_of(prompts, request.negative_prompt, settings) for prompts in asked]
    pipeline.encoder.texts.encode_ahead(wordings)


def _make(
    batch: Worded, folder: PromptFolder, pipeline: MovaPipeline, way: Way, tick: Callable[[], None]
) -> list[Made]:
    """Samples a batch, and writes it where this process is to: what was written."""
    writes = way.sharing.writes
    settings = batch.clips[0].planned.settings
    sample_rate_hz = pipeline.codecs.audio.sample_rate_hz
    requests = [item.planned.request for item in batch.clips]
    paths = [folder.clip_path(item) for item in batch.clips]
    every = way.options.preview_every if writes else 0
    on_step = watcher(pipeline, settings, tick, every, [preview_path(path) for path in paths])
    clips = make_clips(pipeline, requests, batch.prompts, settings, on_step)
    if not writes:
        return []
    made = []
    for item, path, record, (frames, audio) in zip(batch.clips, paths, batch.records, clips, strict=True):
        sha256 = save_clip(path, frames, audio, sample_rate_hz, record, lossless_audio=way.options.lossless_audio)
        made.append(Made(item, record, sha256))
    return made
