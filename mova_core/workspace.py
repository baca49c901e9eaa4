"""Where every step reads and writes. One folder layout, stated here and nowhere else.

```
ROOT/params.yaml                      the active configuration
ROOT/data/raw/<collection>/           videos, and `labels/<stem>.json` sidecars where truth is known
ROOT/data/ingest/<collection>/        manifest.parquet, rejects.parquet
ROOT/data/clips/<collection>/         manifest.parquet, rejects.parquet, clips/<clip_id>.mp4
ROOT/data/captions/<collection>/      manifest.parquet
ROOT/data/latents/                    manifest.parquet, codecs/, shards/
ROOT/data/runs/<phase>/               checkpoint/ (release layout), state/ (to resume), metrics.jsonl
ROOT/data/.training/                  locks and meeting points of training processes
ROOT/data/samples/                    <set>/manifest.parquet, <set>/<clip_id>.mp4
ROOT/data/evaluation/                 metrics.json, report.html
ROOT/data/release/                    the release folder
ROOT/data/reports/                    <step>[-<collection>].json, one StageReport each
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folder that holds one configuration and everything made under it."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def raw_root(self) -> Path:
        return self.data / "raw"

    def raw(self, collection: str) -> Path:
        return self.raw_root / collection

    def ingest(self, collection: str) -> Path:
        return self.data / "ingest" / collection

    def clips(self, collection: str) -> Path:
        return self.data / "clips" / collection

    def captions(self, collection: str) -> Path:
        return self.data / "captions" / collection

    @property
    def latents(self) -> Path:
        return self.data / "latents"

    @property
    def codecs(self) -> Path:
        return self.latents / "codecs"

    def run(self, phase: str) -> Path:
        return self.data / "runs" / phase

    @property
    def training(self) -> Path:
        return self.data / ".training"

    @property
    def samples(self) -> Path:
        return self.data / "samples"

    @property
    def evaluation(self) -> Path:
        return self.data / "evaluation"

    @property
    def release(self) -> Path:
        return self.data / "release"

    @property
    def reports(self) -> Path:
        return self.data / "reports"
