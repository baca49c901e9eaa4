"""Generated clips on disk: an mp4 that says what made it, a record beside it, lossless sound where wanted. No torch.

```
clip.mp4        H.264 and AAC that start together; tags `title` (the prompt) and `comment` (the record as JSON)
clip.mp4.json   the record, with the file's SHA-256 and what the run was like
clip.mp4.wav    with --lossless-audio: the samples as the codec gave them, 32-bit floating point
```

Names begin with the clip's whole name, so that no file of the user's is taken for one of these.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mova_core import __version__
from mova_core.data.media import read_tags, write_clip
from mova_core.errors import UserError
from mova_core.files import sha256_of_file, write_text, written_aside
from mova_core.inference.identity import ModelIdentity
from mova_core.inference.inputs import Pixels, Settings
from mova_core.inference.refinement.record import Refinement
from mova_core.inference.request import ClipRequest

FORMAT = 1
"""Of the record."""

Record = dict[str, Any]


def record_of(request: ClipRequest, settings: Settings, identity: ModelIdentity, dtype: str) -> Record:
    """All that decides a clip's bytes on one machine: equal records, equal clips."""
    return {
        "format": FORMAT,
        **request.described(),
        "settings": dataclasses.asdict(settings),
        "model": {**dataclasses.asdict(identity), "dtype": dtype},
        "version": __version__,
    }


def refined_record(refinement: Refinement) -> Record:
    """What a refined prompt changes in a record: the prompt is what was sampled, the original stays beside it."""
    return {"prompt": refinement.prompt, "refinement": json.loads(refinement.to_json())}


def check_out(out: Path, inputs: Mapping[str, Path]) -> None:
    """Whether a clip can be written to `out`.

    Raises
    ------
    UserError : if it is no mp4 file's name, one of the inputs, or in a place where nothing can be written.
    """
    if out.suffix.lower() != ".mp4" or out.is_dir():
        raise UserError(f"--out is {out}", expected="a file that ends in .mp4", remedy="name one, as in clip.mp4")
    for name, path in inputs.items():
        if path.resolve() == out.resolve():
            raise UserError(f"--out is also --{name}: {out}", expected="another file", remedy="name a new one")
    check_folder(out.parent)


def check_folder(folder: Path) -> None:
    """Whether files can be written to `folder`, which may have to be made.

    Raises
    ------
    UserError : if not.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder} ({error.strerror or error})",
            expected="a folder that is yours",
            remedy="name another place with --out",
        ) from error


def save_clip(
    out: Path,
    frames: Pixels,
    audio: NDArray[np.float32],
    sample_rate_hz: int,
    record: Record,
    *,
    lossless_audio: bool,
) -> str:
    """Writes the mp4 (and the sound) and returns the mp4's SHA-256; what was there before stays until it is whole.

    Parameters
    ----------
    frames, audio : `[T, H, W, 3]` and `[S]`, which start together.
    record : see `record_of`.
    """
    if lossless_audio:
        from scipy.io import wavfile

        with written_aside(lossless_path(out)) as aside:
            wavfile.write(aside, sample_rate_hz, audio)
    tags = {"title": " ".join(record["prompt"].split()), "comment": json.dumps(record, ensure_ascii=False)}
    write_clip(out, frames, audio, record["settings"]["fps"], sample_rate_hz, audio_codec="aac", tags=tags)
    return sha256_of_file(out)


def save_record(out: Path, record: Record, sha256: str, run: Record) -> None:
    """Writes the record beside a clip; `run` is what another run of the same record need not repeat (speed, device)."""
    values = {"file": out.name, "sha256": sha256, **record, "run": run}
    write_text(record_path(out), json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_record(clip: Path) -> Record:
    """The record inside an mp4 that `save_clip` wrote.

    Raises
    ------
    UserError : if there is none.
    """
    try:
        record: Record = json.loads(read_tags(clip)["comment"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{clip} says nothing of how it was made",
            expected="a clip of `mova generate` or `mova sample`",
            remedy="look for the .json file beside it",
        ) from error
    return record


def record_path(out: Path) -> Path:
    """Where the record of a clip lies."""
    return out.with_name(f"{out.name}.json")


def lossless_path(out: Path) -> Path:
    """Where the lossless sound of a clip lies."""
    return out.with_name(f"{out.name}.wav")


def preview_path(out: Path) -> Path:
    """Where the preview of a clip lies."""
    return out.with_name(f"{out.name}.preview.png")
