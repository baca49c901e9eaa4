"""A phase's folder: what is in it, what it was made from, and when it is finished.

```
data/runs/<phase>/phase.json      fingerprint, steps and figures; written last, so it says that the phase is finished
data/runs/<phase>/checkpoint/     the averaged weights in the release's layout
data/runs/<phase>/metrics.jsonl   one line a step
data/runs/<phase>/curves.png
data/runs/<phase>/state/          what to resume from; gone when the phase is finished
```
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova_core.config import Config
from mova_core.config.training import PhasesConfig
from mova_core.errors import UserError
from mova_core.files import content_id, flush_to_disk, sha256_of_file, sizes_of, write_text
from mova_core.workspace import Workspace

FORMAT = 1
"""Raised when the same configuration would train to other weights."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one phase."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def summary(self) -> Path:
        return self.path / "phase.json"

    def finished(self, fingerprint: str) -> dict[str, float] | None:
        """The figures of a finished run of that fingerprint whose checkpoint is whole, else None.

        Raises
        ------
        UserError : if what a finished run left is damaged.
        """
        if not self.summary.is_file() or not self.checkpoint.is_dir():
            return None
        try:
            values = json.loads(self.summary.read_text(encoding="utf-8"))
            is_whole = values.get("files", there := sizes_of(self.checkpoint)) == there
            return dict(values["figures"]) if values["fingerprint"] == fingerprint and is_whole else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.summary} is damaged ({error})",
                expected="what the finished phase left there",
                remedy=f"take it from a copy, or delete {self.path} to train the phase again",
            ) from error

    def begin(self, fingerprint: str) -> None:
        """Removes what a run of another fingerprint left; what this one left stays, to be resumed."""
        self.summary.unlink(missing_ok=True)
        marker = self.path / "fingerprint"
        if marker.is_file() and marker.read_text(encoding="utf-8") == fingerprint:
            return
        if self.path.is_dir():
            shutil.rmtree(self.path)
        write_text(marker, fingerprint)

    def finish(self, fingerprint: str, figures: dict[str, float]) -> None:
        """Marks the phase finished; the state to resume from goes."""
        values = {"fingerprint": fingerprint, "figures": figures, "files": sizes_of(self.checkpoint)}
        text = json.dumps(values, indent=2, sort_keys=True) + "\n"
        write_text(self.summary, text)
        shutil.rmtree(self.state, ignore_errors=True)

    def install_checkpoint(self, aside: Path) -> None:
        """Gives a checkpoint written aside its name; the one before goes."""
        replaced = self.path / ".checkpoint.replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        if self.checkpoint.is_dir():
            self.checkpoint.rename(replaced)
        aside.rename(self.checkpoint)
        flush_to_disk(self.path)
        shutil.rmtree(replaced, ignore_errors=True)


def predecessor_of(phase: str) -> str | None:
    """The phase whose weights `phase` starts from."""
    phases = list(PhasesConfig.model_fields)
    index = phases.index(phase)
    return phases[index - 1] if index else None


def fingerprint(config: Config, workspace: Workspace, phase: str) -> str:
    """A hash of everything that decides what the phase learns: settings, data and the weights it starts from.

    Raises
    ------
    UserError : if the latents or the phase before are missing.
    """
    manifest = workspace.latents / "manifest.parquet"
    if not manifest.is_file():
        raise UserError(
            f"no latents at {workspace.latents}", expected="cached latents", remedy="run `mova encode` first"
        )
    before = predecessor_of(phase)
    settings: dict[str, Any] = {
        "format": FORMAT,
        "phase": phase,
        "seed": config.seed,
        "fps": config.media.fps,
        "model": config.model.model_dump(mode="json"),
        "optimizer": config.train.optimizer.model_dump(mode="json"),
        "validation": config.train.validation.model_dump(mode="json"),
        "settings": config.train.phase(phase).model_dump(mode="json"),
        "latents": sha256_of_file(manifest),
        "start": _weights_hash(RunFolder(workspace.run(before)), before, phase) if before else None,
    }
    return content_id(json.dumps(settings, sort_keys=True))


def _weights_hash(run: RunFolder, before: str, phase: str) -> str:
    if not run.summary.is_file() or not run.checkpoint.is_dir():
        raise UserError(
            f"phase {phase} starts from phase {before}, and {run.path} holds no finished run",
            expected="that phase's checkpoint",
            remedy=f"run `mova train --phase {before}` first",
        )
    files = sorted(path for path in run.checkpoint.rglob("*") if path.is_file())
    return " ".join(f"{path.relative_to(run.checkpoint)}:{sha256_of_file(path)}" for path in files)
