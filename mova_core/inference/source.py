"""Which model a command samples from, and how that model is meant to be used. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mova_core.config import load_config
from mova_core.errors import UserError
from mova_core.inference.defaults import RELEASED_SETTINGS, Defaults, defaults_of
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


def find_source(workspace: Workspace, checkpoint: Path | None) -> Source:
    """The named checkpoint; by default the newest phase's of the workspace, else its release.

    It is meant to be used as its generation_config.json says; a phase's checkpoint as params.yaml says; the released
    folders, which say nothing, as the report says of the released model.

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
    return Source(found, codecs, Defaults.load(found) or _meant(workspace, trained, found))


def _meant(workspace: Workspace, trained: dict[str, Path], found: Path) -> Defaults:
    phase = next((name for name, folder in trained.items() if folder.resolve() == found.resolve()), None)
    if phase is not None:
        return defaults_of(load_config(workspace.params), phase)
    return Defaults(RELEASED_SETTINGS, "auto")
