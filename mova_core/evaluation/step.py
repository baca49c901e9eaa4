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

from mova_core.config import Config, dump_config
from mova_core.evaluation.evaluator import Evaluator
from mova_core.evaluation.inputs import generated_sets, held_out_clips
from mova_core.evaluation.plots import as_svg, draw, save_png
from mova_core.evaluation.report import ReportTexts, render
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
    figures = draw(evaluation)
    previews = [workspace.evaluation / f"{name}.png" for name in figures]
    for figure, preview in zip(figures.values(), previews, strict=True):
        save_png(figure, preview)
    pictures = {name: as_svg(figure) for name, figure in figures.items()}
    write_text(report, render(evaluation, pictures, evaluator.grid(), texts))
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
