"""`mova bench memory`: what each memory mode really takes for one clip, beside what was said before it started.

Each mode runs in a process of its own. On the host, a process's own memory is counted (`mova_core.bench.host_peak`):
what is mapped from the checkpoint's files is not, which shows that weights lie in memory once.
"""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError
from mova_core.inference.inputs import Settings
from mova_core.workers import process_pool

if TYPE_CHECKING:
    from mova_core.inference.pipeline import MovaPipeline
    from mova_core.inference.placement.layout import Mode

PROMPT = "a bell rings"
NUM_STEPS = 2
SIZES = ("height", "width", "num_frames")


@dataclasses.dataclass(frozen=True)
class MemoryBench:
    """What to measure.

    Attributes
    ----------
    checkpoint : a folder in the release's layout, with codecs, or with `codecs` beside it.
    height, width, num_frames : of the clip; None takes what the checkpoint is meant for.
    """

    checkpoint: Path
    codecs: Path | None = None
    device: str = "cpu"
    modes: tuple[Mode, ...] = ("resident", "swap", "stream")
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None


def run_memory_bench(bench: MemoryBench) -> dict[str, Any]:
    """Measures every mode and returns one line of JSON, as a dictionary.

    Raises
    ------
    UserError : if there is no checkpoint, or a clip of that size cannot be made.
    """
    if not bench.checkpoint.is_dir():
        raise UserError(f"no folder {bench.checkpoint}", expected="a checkpoint", remedy="name one with --checkpoint")
    stored = sum(path.stat().st_size for path in bench.checkpoint.rglob("*.safetensors"))
    measured = {mode: in_own_process(bench, mode) for mode in bench.modes}
    return {"bench": "memory", "device": bench.device, "stored_bytes": stored, "modes": measured}


def in_own_process(bench: MemoryBench, mode: Mode) -> dict[str, Any]:
    """`measure_mode` in a fresh process, whose memory nothing else has used."""
    with process_pool(1) as pool:
        return pool.submit(measure_mode, bench, mode).result()


def measure_mode(bench: MemoryBench, mode: Mode) -> dict[str, Any]:
    """One mode, in this process: a small clip first, which loads libraries and starts threads, then the clip."""
    import torch

    from mova_core.bench.host_peak import HostPeak, own_bytes
    from mova_core.bench.machine import device_peak
    from mova_core.inference.pipeline import MovaPipeline

    device = torch.device(bench.device)
    torch.empty(1, device=device)

    def load() -> MovaPipeline:
        return MovaPipeline.from_pretrained(bench.checkpoint, bench.codecs, device=device, memory=mode)

    load()  # brings libraries that are imported when they are needed
    gc.collect()
    before = own_bytes()
    with HostPeak() as loading:
        pipeline = load()
    loaded = own_bytes() - before
    given = {name: value for name in SIZES if (value := getattr(bench, name)) is not None}
    settings = dataclasses.replace(pipeline.defaults, num_steps=NUM_STEPS, **given)
    _clip(pipeline, dataclasses.replace(settings, height=64, width=64, num_frames=5))
    pipeline.placement.rest()
    with HostPeak() as running, device_peak(device) as peak:
        _clip(pipeline, settings)
        on_device = peak()
    need = pipeline.placement.need
    assert need is not None
    pipeline.placement.close()
    return {
        "needed_device_bytes": need.device_bytes,
        "needed_host_bytes": need.host_bytes,
        "host_own_bytes_of_the_run": running.added_bytes,
        "host_own_bytes_after_loading": loaded,
        "host_own_bytes_while_loading": loading.added_bytes,
        **on_device,
    }


def _clip(pipeline: MovaPipeline, settings: Settings) -> None:
    from mova_core.inference.clip_inputs import ClipInputs

    pipeline.run(ClipInputs([PROMPT], [0]), settings)
