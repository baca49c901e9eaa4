"""generation_config.json: how a release is meant to be used (size, solver, guidance, precision ...). Loads no torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mova_core.config import Config
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.inference.inputs import Settings

DEFAULTS_FILE = "generation_config.json"

ComputeDtype = Literal["auto", "float32", "bfloat16"]

RELEASED_SETTINGS = Settings(
    num_steps=50,
    text_guidance=5.0,
    bridge_guidance=1.0,
    bridge=True,
    height=352,
    width=640,
    num_frames=193,
    fps=24.0,
    solver="euler",
)
"""The released model's own (report section 4), for a folder that states none."""


@dataclass(frozen=True)
class Defaults:
    """How a model is meant to be used; `compute_dtype` as `ModelConfig` has it."""

    settings: Settings
    compute_dtype: ComputeDtype

    def save(self, folder: Path) -> None:
        """Writes the file into `folder`."""
        write_text(folder / DEFAULTS_FILE, json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n")

    @staticmethod
    def load(folder: Path) -> Defaults | None:
        """What the file in `folder` says; None without one.

        A file that names no solver means Euler's, which was the only one when such files were written.

        Raises
        ------
        UserError : if it does not read, or holds what no model could use.
        """
        path = folder / DEFAULTS_FILE
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            compute_dtype = values["compute_dtype"]
            if compute_dtype not in get_args(ComputeDtype):
                raise ValueError(f"compute_dtype is {compute_dtype!r}, expected one of {get_args(ComputeDtype)}")
            return Defaults(Settings(**values["settings"]), compute_dtype)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} does not read ({type(error).__name__}: {error})",
                expected="what `mova release` wrote",
                remedy="fetch or build the release again",
            ) from error


def defaults_of(config: Config, phase: str) -> Defaults:
    """How clips of a phase are generated: the size of its first sample set with the Bridge on, else the clips' own."""
    sizes = [(entry.height, entry.width) for entry in config.sample.sets if entry.phase == phase and entry.bridge]
    height, width = sizes[0] if sizes else (config.media.height, config.media.width)
    settings = Settings(
        solver=config.sample.solver,
        num_steps=config.sample.num_steps,
        text_guidance=config.sample.text_guidance,
        bridge_guidance=config.sample.bridge_guidance,
        bridge=True,
        height=height,
        width=width,
        num_frames=config.media.num_frames,
        fps=config.media.fps,
    )
    return Defaults(settings, config.model.compute_dtype)
