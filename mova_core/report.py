"""What a step tells its callers: the shell prints it, DVC keeps it, Dagster turns it into metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mova_core.files import write_text


@dataclass(frozen=True)
class StageReport:
    """The outcome of one step.

    Attributes
    ----------
    step : the step's name (`curate`, `train_joint1`, ...).
    rows_in, rows_out : rows read and rows written; ``rows_in == rows_out + sum(rejected.values())`` for steps that
        filter, checked where the report is built. Steps that do not filter leave ``rejected`` empty.
    rejected : reason -> number of rows.
    metrics : named numbers a person would want on the page.
    previews : picture, plot or clip files (PNG, mp4, HTML), relative to the workspace.
    outputs : the files or folders written, relative to the workspace.
    notes : sentences worth reading (a remedy taken, a limit met).
    seconds : wall-clock time, filled in by `mova_core.steps.run_step`.
    """

    step: str
    rows_in: int = 0
    rows_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    previews: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def timed(self, seconds: float) -> StageReport:
        return replace(self, seconds=round(seconds, 3))

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @staticmethod
    def load(path: Path) -> StageReport:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("previews", "outputs", "notes"):
            values[name] = tuple(values[name])
        return StageReport(**values)

    def summary(self) -> str:
        """One line for a terminal."""
        parts = [f"{self.step}: {self.rows_out} rows in {self.seconds:.1f} s"]
        if self.rejected:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.rejected.items()))
            parts.append(f"{sum(self.rejected.values())} of {self.rows_in} rejected ({reasons})")
        if self.metrics:
            parts.append(", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items()))
        return "; ".join(parts)
