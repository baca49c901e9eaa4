"""One set of samples on disk: what is done, by which recipe, and its manifest. Loads no torch.

```
data/samples/<set>/recipe.json         all that the set's bytes depend on; written first
data/samples/<set>/<clip_id>.mp4       H.264 and AAC, each whole or absent
data/samples/<set>/contact_sheet.png
data/samples/<set>/lineage.json        data, configuration and code of the run that finished the set
data/samples/<set>/manifest.parquet    Sample rows; written last, so a set that has one is finished
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mova_core.config.sampling import SampleConfig, SampleSet
from mova_core.data.manifest import read_manifest, write_manifest
from mova_core.data.media import read_clip, write_clip
from mova_core.data.records import Sample
from mova_core.files import content_id, write_text
from mova_core.inference.held_out import MANIFEST_FILE, HeldOut
from mova_core.inference.preview import contact_sheet

RECIPE_FILE = "recipe.json"
SHEET_FILE = "contact_sheet.png"
NUM_SHEET_CLIPS = 6
# Of x264. Pictures of the nano preset are so small that bits are cheap, and the next encoder step would cost detail.
CONSTANT_RATE_FACTOR = 10


@dataclass(frozen=True)
class SetFolder:
    """The folder of one set, and what belongs in it.

    Attributes
    ----------
    root : the workspace's root; `checkpoint` is named relative to it.
    recipe : what the bytes depend on, as JSON values.
    """

    path: Path
    settings: SampleSet
    sampling: SampleConfig
    clips: Sequence[HeldOut]
    checkpoint: str
    recipe: dict[str, object]

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST_FILE

    @property
    def sheet(self) -> Path:
        return self.path / SHEET_FILE

    def clip_path(self, clip: HeldOut) -> Path:
        return self.path / f"{clip.clip_id}.mp4"

    def is_finished(self) -> bool:
        """Whether every file is there, made by this recipe, with the rows that belong to it."""
        return (
            self._is_ours()
            and self.manifest.is_file()
            and self.sheet.is_file()
            and not self.pending()
            and read_manifest(self.manifest, Sample) == self.rows()
        )

    def begin(self) -> None:
        """Removes what another recipe left; what this one left stays, to go on from."""
        if not self._is_ours():
            shutil.rmtree(self.path, ignore_errors=True)
            write_text(self.path / RECIPE_FILE, _as_json(self.recipe))

    def batches(self) -> list[list[HeldOut]]:
        """The clips in the batches that they are generated in, which are the same in every run."""
        size = self.sampling.batch_size
        return [list(self.clips[start : start + size]) for start in range(0, len(self.clips), size)]

    def pending(self) -> list[list[HeldOut]]:
        """The batches that lack a clip. They are generated whole: a batch's bytes are those of the whole batch."""
        return [batch for batch in self.batches() if not all(self.clip_path(clip).is_file() for clip in batch)]

    def write(
        self,
        batch: Sequence[HeldOut],
        frames: NDArray[np.uint8],
        waveforms: NDArray[np.float32],
        fps: float,
        sample_rate_hz: int,
    ) -> None:
        """Writes a batch's clips: frames ``[b, T, H, W, 3]``, waveforms ``[b, S]``."""
        for clip, pictures, sound in zip(batch, frames, waveforms, strict=True):
            write_clip(
                self.clip_path(clip),
                pictures,
                sound,
                fps,
                sample_rate_hz,
                audio_codec="aac",
                constant_rate_factor=CONSTANT_RATE_FACTOR,
            )

    def write_sheet(self) -> None:
        """Shows a clip of every label, then more, on one picture."""
        chosen = one_of_each_label(self.clips, NUM_SHEET_CLIPS)
        shown = [read_clip(self.clip_path(clip)) for clip in chosen]
        contact_sheet(shown, [f"{clip.label}: {clip.prompt}" for clip in chosen], self.sheet)

    def finish(self) -> None:
        """Writes the manifest, which says that the set is whole."""
        write_manifest(self.manifest, Sample, self.rows())

    def rows(self) -> list[Sample]:
        """The manifest's rows, in the order of the clips."""
        return [
            Sample(
                sample_id=content_id(self.settings.name, clip.clip_id, clip.seed),
                set_name=self.settings.name,
                clip_id=clip.clip_id,
                path=self.clip_path(clip).name,
                prompt=clip.prompt,
                label=clip.label,
                seed=clip.seed,
                num_steps=self.sampling.num_steps,
                text_guidance=self.sampling.text_guidance,
                bridge_guidance=self.sampling.bridge_guidance if self.settings.bridge else 0.0,
                checkpoint=self.checkpoint,
                solver=self.sampling.solver,
            )
            for clip in self.clips
        ]

    def _is_ours(self) -> bool:
        path = self.path / RECIPE_FILE
        return path.is_file() and path.read_text(encoding="utf-8") == _as_json(self.recipe)


Labelled = TypeVar("Labelled", HeldOut, Sample)


def one_of_each_label(clips: Sequence[Labelled], count: int) -> list[Labelled]:
    """Up to `count` clips, label by label in turn, in the order of their labels."""
    turns: dict[str, int] = {}
    ranked = []
    for clip in clips:
        turn = turns[clip.label] = turns.get(clip.label, -1) + 1
        ranked.append((turn, clip.label, clip.clip_id, clip))
    chosen = sorted(ranked, key=lambda entry: entry[:3])[:count]
    return [entry[3] for entry in sorted(chosen, key=lambda entry: (entry[1], entry[0]))]


def _as_json(values: dict[str, object]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
