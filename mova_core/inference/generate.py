"""`mova generate`: one clip from a prompt, with the newest weights at hand."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from mova_core.config import load_config
from mova_core.data.media import write_clip
from mova_core.errors import UserError
from mova_core.inference.defaults import Defaults, defaults_of
from mova_core.inference.inputs import Pixels, Settings, check_clips, read_first_frame
from mova_core.progress import say
from mova_core.workspace import Workspace

SAMPLED_PHASES = ("joint3", "joint2", "joint1")
INDEX_FILE = "model_index.json"
OWN_CODEC = "video_vae"


@dataclass(frozen=True)
class Source:
    """A folder with a model, where its codecs lie (None: beside it), and how it is meant to be used."""

    folder: Path
    codecs: Path | None
    defaults: Defaults


def generate_clip(
    workspace: Workspace,
    *,
    prompt: str,
    out: Path,
    image: Path | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
    num_steps: int | None = None,
    text_guidance: float | None = None,
    bridge_guidance: float | None = None,
) -> str:
    """Generates a clip, writes it to `out` and returns a sentence on what was done.

    Parameters
    ----------
    out : an mp4 file; one that is there is replaced.
    image : the first frame, in any size; None for white.
    checkpoint : a release, or a checkpoint of this workspace; by default the newest phase's, else the release.
    num_steps, text_guidance, bridge_guidance : None takes what the checkpoint is meant to be used with.

    Raises
    ------
    UserError : for input that cannot work, before the model is loaded; if there is no model.
    """
    if out.suffix.lower() != ".mp4" or out.is_dir():
        raise UserError(f"--out is {out}", expected="a file that ends in .mp4", remedy="name one, as in clip.mp4")
    source = find_source(workspace, checkpoint)
    meant = source.defaults.settings
    settings = dataclasses.replace(
        meant,
        num_steps=meant.num_steps if num_steps is None else num_steps,
        text_guidance=meant.text_guidance if text_guidance is None else text_guidance,
        bridge_guidance=meant.bridge_guidance if bridge_guidance is None else bridge_guidance,
    )
    first = None if image is None else read_first_frame(image, settings.height, settings.width)[None]
    check_clips([prompt], first, [seed], settings)
    return _generate(source, settings, prompt, first, seed, out)


def find_source(workspace: Workspace, checkpoint: Path | None) -> Source:
    """The model to use; see `generate_clip`.

    Raises
    ------
    UserError : if there is none.
    """
    trained = {phase: workspace.run(phase) / "checkpoint" for phase in SAMPLED_PHASES}
    candidates = [checkpoint] if checkpoint is not None else [*trained.values(), workspace.release]
    found = next((folder for folder in candidates if (folder / INDEX_FILE).is_file()), None)
    if found is None:
        raise UserError(
            f"no model at {checkpoint}" if checkpoint else f"no checkpoint and no release under {workspace.data}",
            expected=f"a folder with {INDEX_FILE}",
            remedy="run `mova demo`, or name a release with --checkpoint",
        )
    codecs = None if (found / OWN_CODEC).is_dir() else workspace.codecs
    phases = [name for name, folder in trained.items() if folder.resolve() == found.resolve()]
    return Source(
        found,
        codecs,
        Defaults.load(found) or defaults_of(load_config(workspace.params), *(phases or SAMPLED_PHASES[:1])),
    )


def _generate(source: Source, settings: Settings, prompt: str, first: Pixels | None, seed: int, out: Path) -> str:
    import torch

    from mova_core.inference.pipeline import MovaPipeline
    from mova_core.models.build import resolve_compute_dtype

    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    say(f"loading {source.folder} on {device}")
    pipeline = MovaPipeline.from_pretrained(
        source.folder,
        source.codecs,
        device=device,
        compute_dtype=resolve_compute_dtype(source.defaults.compute_dtype),
    )
    say(f"generating in {settings.num_steps} steps")
    frames, waveforms = pipeline.generate(
        [prompt],
        first,
        [seed],
        settings.num_steps,
        settings.text_guidance,
        settings.bridge_guidance,
        settings.bridge,
        height=settings.height,
        width=settings.width,
        num_frames=settings.num_frames,
        fps=settings.fps,
    )
    sample_rate_hz = pipeline.codecs.audio.sample_rate_hz
    write_clip(out, frames[0], waveforms[0], settings.fps, sample_rate_hz, audio_codec="aac")
    return (
        f"wrote {out}: {settings.num_frames / settings.fps:.2f} s of {settings.width}x{settings.height} at "
        f"{settings.fps:g} fps with sound at {sample_rate_hz} Hz, seed {seed}, {settings.num_steps} steps, "
        f"text guidance {settings.text_guidance:g}, Bridge guidance {settings.bridge_guidance:g}, "
        f"from {source.folder}, in {time.monotonic() - started:.1f} s"
    )
