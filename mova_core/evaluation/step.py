"""The `evaluate` step: samples and the real clips behind them to figures, a report and metrics.

```
data/evaluation/report.html     everything, in one file that opens anywhere
data/evaluation/metrics.json    flat numbers for DVC
data/evaluation/lineage.json    which data, configuration and code they come from
data/evaluation/*.png           the report's figures as previews
```
"""

from __future__ import annotations

import json
from pathlib import Path

from mova_core.config import Config, dump_config
from mova_core.evaluation.evaluator import Evaluator
from mova_core.evaluation.inputs import generated_sets, held_out_clips
from mova_core.evaluation.plots import history_figure, intervals_figure, offset_panels, offsets_figure, save_png
from mova_core.evaluation.report import ReportTexts, render
from mova_core.evaluation.results import Evaluation
from mova_core.evaluation.summary import flat_metrics, headline_metrics
from mova_core.files import write_text
from mova_core.progress import say
from mova_core.report import StageReport
from mova_core.versioning.lineage import stamp
from mova_core.workspace import Workspace

SECTIONS = ("seed", "media", "encode", "model", "train", "sample", "evaluate")


def run(config: Config, workspace: Workspace) -> StageReport:
    """Runs the step.

    Raises
    ------
    UserError : if samples, clips, codecs, latents or a checkpoint are absent or do not fit each other.
    """
    sets = generated_sets(config, workspace)
    real = held_out_clips(config, workspace, (sample.clip_id for entry in sets for sample in entry.samples))
    evaluator = Evaluator(config, workspace, sets, real)
    evaluation = evaluator.evaluation()
    report, remarks = workspace.evaluation / "report.html", evaluator.remarks()
    lineage = stamp(config, workspace.root, evaluator.inputs(), SECTIONS)
    texts = ReportTexts(config.preset, config.seed, lineage.to_json(), dump_config(config), tuple(remarks))
    say("evaluate: writing the report")
    previews = _write_figures(evaluation, workspace.evaluation)
    write_text(report, render(evaluation, evaluator.grid(), texts))
    lineage.save(workspace.evaluation)
    write_text(workspace.evaluation / "metrics.json", json.dumps(flat_metrics(evaluation), indent=1) + "\n")
    num_clips = sum(len(entry.samples) for entry in sets)
    return StageReport(
        step="evaluate",
        rows_in=num_clips,
        rows_out=num_clips,
        metrics=headline_metrics(evaluation),
        previews=tuple(path.relative_to(workspace.root).as_posix() for path in (*previews, report)),
        outputs=(workspace.evaluation.relative_to(workspace.root).as_posix(),),
        notes=tuple(remarks),
    )


def _write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """The report's figures as PNG files; returns their paths."""
    paths = []
    for phase in evaluation.phases:
        paths.append(folder / f"offsets_{phase}.png")
        save_png(offsets_figure(offset_panels(evaluation, phase), evaluation.fps), paths[-1])
    paths.append(folder / "within_one_frame.png")
    save_png(intervals_figure(evaluation), paths[-1])
    if evaluation.history:
        paths.append(folder / "training.png")
        save_png(history_figure(evaluation.history), paths[-1])
    return paths
