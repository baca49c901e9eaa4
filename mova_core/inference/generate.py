"""`mova generate`: one clip from a prompt, with the weights that are named or the newest at hand."""

from __future__ import annotations

import time
from pathlib import Path

from mova_core.inference.givens import check_request
from mova_core.inference.identity import identify
from mova_core.inference.inputs import Settings
from mova_core.inference.processes import check_spread, from_first, is_first, joined, num_processes
from mova_core.inference.refinement.record import Refinement, Refiner
from mova_core.inference.request import ClipRequest
from mova_core.inference.running import RunOptions, choose_machine, load, make_clips, watcher
from mova_core.inference.saving import check_out, preview_path, record_of, refined_record, save_clip, save_record
from mova_core.inference.source import find_source
from mova_core.progress import say, ticking
from mova_core.workspace import Workspace


def generate_clip(
    workspace: Workspace,
    request: ClipRequest,
    out: Path,
    *,
    checkpoint: Path | None = None,
    options: RunOptions | None = None,
    refiner: Refiner | None = None,
) -> str:
    """Generates a clip, writes it to `out` with its record, and returns a sentence on what was done.

    Where torchrun started several processes, each takes a share of the clip's tokens; the first alone writes, and the
    others return "".

    Parameters
    ----------
    out : an mp4 file; one that is there is replaced once the new one is whole.
    checkpoint : a release, or a checkpoint of this workspace; by default the newest phase's, else the release.
    refiner : rewrites the prompt first.

    Raises
    ------
    UserError : for input that cannot work, before the model is loaded; if there is no model.
    """
    options = options or RunOptions()
    check_out(out, request.given())
    source = find_source(workspace, checkpoint)
    settings = request.settings(source.defaults.settings)
    num_windows = check_request(request, settings)
    several = num_processes() > 1
    if several:
        check_spread(source.folder)
    machine = choose_machine(source, options)
    record = record_of(request, settings, identify(source.folder, source.codecs), machine.dtype_name)
    with joined(machine.device.type):
        if refiner is not None:
            record |= refined_record(from_first(lambda: _refined(refiner, request)))
        started = time.monotonic()
        pipeline = load(source, machine, spread=several)
        loaded = time.monotonic()
        with ticking("denoise", num_windows * settings.num_steps) as tick:
            every = options.preview_every if is_first() else 0
            on_step = watcher(pipeline, settings, tick, every, [preview_path(out)])
            ((frames, audio),) = make_clips(pipeline, [request], [record["prompt"]], settings, on_step)
    sampled = time.monotonic()
    if not is_first():
        return ""
    sample_rate_hz = pipeline.codecs.audio.sample_rate_hz
    sha256 = save_clip(out, frames, audio, sample_rate_hz, record, lossless_audio=options.lossless_audio)
    seconds = {"load": loaded - started, "sample": sampled - loaded, "write": time.monotonic() - sampled}
    run = {
        "device": str(machine.device),
        "processes": num_processes(),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "num_frames": len(frames),
        "num_samples": len(audio),
        "sample_rate_hz": sample_rate_hz,
    }
    save_record(out, record, sha256, run)
    return (
        f"wrote {out}: {len(frames) / settings.fps:.2f} s of {settings.width}x{settings.height} "
        f"at {settings.fps:g} fps with sound at {sample_rate_hz} Hz, seed {request.seed}, {_how(settings)}, "
        f"from {source.folder}, in {time.monotonic() - started:.1f} s"
    )


def _refined(refiner: Refiner, request: ClipRequest) -> Refinement:
    refinement = refiner.refine(request.prompt, request.image)
    say(f"refined by {refinement.refiner}: {refinement.prompt}")
    return refinement


def _how(settings: Settings) -> str:
    return (
        f"{settings.num_steps} steps of {settings.solver}, text guidance {settings.text_guidance:g}, "
        f"Bridge guidance {settings.bridge_guidance:g}"
    )
