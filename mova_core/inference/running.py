"""Runs a pipeline for the command line: loads it as asked, shows progress, writes previews."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mova_core.errors import UserError
from mova_core.host_memory import keep_freed_memory
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.extension import extended
from mova_core.inference.givens import Waveform, clip_inputs, read_givens
from mova_core.inference.inputs import Pixels, Settings
from mova_core.inference.preview import contact_sheet
from mova_core.inference.processes import local_index, num_processes
from mova_core.inference.request import ClipRequest
from mova_core.inference.source import Source
from mova_core.progress import say

if TYPE_CHECKING:
    import torch

    from mova_core.inference.denoising import OnStep, StepState
    from mova_core.inference.pipeline import MovaPipeline
    from mova_core.inference.placement import Memory


@dataclass(frozen=True)
class RunOptions:
    """How a model is run; nothing here changes what is asked for, only speed, memory and rounding.

    Attributes
    ----------
    device : "auto" is the GPU where there is one.
    dtype : of matrix products; "auto" is what the checkpoint is meant for.
    preview_every : steps between previews; 0 for none.
    memory : where weights are (see `mova_core.inference.placement.layout`).
    compile : whether `torch.compile` makes code of the layers.
    vae_dtype : what the video VAE computes in.
    """

    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    preview_every: int = 0
    lossless_audio: bool = False
    memory: Literal["auto", "resident", "swap", "stream"] = "auto"
    compile: bool = False
    vae_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        """Raises `UserError` for what cannot be."""
        if self.preview_every < 0:
            raise UserError(
                f"--preview-every is {self.preview_every}", expected="at least 0", remedy="5 is often enough"
            )


@dataclass(frozen=True)
class Machine:
    """Where a model runs, with which numbers, and where its weights are meanwhile."""

    device: torch.device
    compute_dtype: torch.dtype | None
    memory: Memory = "auto"
    compile: bool = False
    vae_dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def dtype_name(self) -> str:
        """For people and records; without a choice the weights' own."""
        name = "as stored" if self.compute_dtype is None else str(self.compute_dtype).removeprefix("torch.")
        return name if self.vae_dtype == "float32" else f"{name}, video VAE {self.vae_dtype}"


def choose_machine(source: Source, options: RunOptions) -> Machine:
    """The device and the number format that `options` ask for.

    Raises
    ------
    UserError : if a GPU or a compiler is asked for and none is there; if processes outnumber GPUs.
    """
    import torch

    from mova_core.models.build import resolve_compute_dtype
    from mova_core.models.compiling import check_compiler

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda", expected="a GPU that PyTorch sees", remedy="run `mova doctor`, or use cpu")
    found = "cuda" if torch.cuda.is_available() else "cpu"
    kind = found if options.device == "auto" else options.device
    device = _own_gpu() if kind == "cuda" and num_processes() > 1 else torch.device(kind)
    dtype = source.defaults.compute_dtype if options.dtype == "auto" else options.dtype
    if options.compile:
        check_compiler(device)
    return Machine(device, resolve_compute_dtype(dtype), options.memory, options.compile, options.vae_dtype)


def _own_gpu() -> torch.device:
    import torch

    count = torch.cuda.device_count()
    if local_index() >= count:
        raise UserError(
            f"this machine has {count} GPUs and at least {local_index() + 1} processes",
            expected="one GPU for each",
            remedy="start fewer with torchrun --nproc-per-node, or use --device cpu",
        )
    return torch.device("cuda", local_index())


def load(source: Source, machine: Machine, spread: bool = False) -> MovaPipeline:
    """The pipeline, ready to run.

    Parameters
    ----------
    spread : whether each of the processes that have joined takes a share of every clip's tokens.
    """
    import torch

    from mova_core.inference.pipeline import MovaPipeline

    if machine.device.type == "cpu":
        keep_freed_memory()
    say(f"loading {source.folder} on {machine.device} (numbers: {machine.dtype_name})")
    pipeline = MovaPipeline.from_pretrained(
        source.folder,
        source.codecs,
        device=machine.device,
        compute_dtype=machine.compute_dtype,
        compile=machine.compile,
        memory=machine.memory,
        vae_dtype=getattr(torch, machine.vae_dtype),
    )
    if spread:
        pipeline.model.spread_over_processes()
    return pipeline


def watcher(
    pipeline: MovaPipeline, settings: Settings, tick: Callable[[], None], every: int, previews: list[Path]
) -> OnStep:
    """What sampling calls after each step: counts it, and writes a preview of every clip each `every` steps.

    Parameters
    ----------
    previews : one path a clip of the batch.
    """

    def on_step(state: StepState) -> None:
        tick()
        done = state.index + 1
        if every and done % every == 0 and done < state.num_steps:
            started = time.monotonic()
            frames = pipeline.decode_video(state.denoised[0])
            audio = pipeline.decode_audio(state.denoised[1], settings)
            for index, path in enumerate(previews):
                caption = f"after step {done} of {state.num_steps}"
                contact_sheet([(frames[index], audio[index])], [caption], path)
            say(f"preview after step {done}: {previews[0]} ({time.monotonic() - started:.1f} s)")

    return on_step


def make_clips(
    pipeline: MovaPipeline,
    requests: Sequence[ClipRequest],
    prompts: Sequence[str],
    settings: Settings,
    on_step: OnStep,
) -> list[tuple[Pixels, Waveform]]:
    """Frames `[T, H, W, 3]` and sound `[S]` of each clip: one batch, or where clips are extended, one by one.

    Parameters
    ----------
    requests : with the same kinds of files and one negative prompt.
    prompts : what is sampled, in place of the requests' own.
    """
    rate = pipeline.codecs.audio.sample_rate_hz
    givens = [read_givens(request, settings, rate) for request in requests]
    if givens[0].extended is None:
        output = pipeline.run(
            clip_inputs(requests, prompts, givens), settings, batch_size=len(requests), on_step=on_step
        )
        return list(zip(output.frames, output.audio, strict=True))

    def window(inputs: ClipInputs) -> tuple[Pixels, Waveform]:
        output = pipeline.run(inputs, settings, on_step=on_step)
        return output.frames, output.audio

    made = []
    for request, prompt, given in zip(requests, prompts, givens, strict=True):
        assert given.extended is not None
        clip = given.extended
        inputs = clip_inputs([request], [prompt], [given])
        frames, audio = extended(window, clip.extension, clip.frames, clip.audio, inputs)
        made.append((frames[0], audio[0]))
    return made
