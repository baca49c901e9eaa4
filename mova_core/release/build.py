"""The release folder, part by part: weights, codecs, schedule, documents, demo clip, checksums.

```
model_index.json  generation_config.json  params.yaml
video_dit/  video_dit_2/  audio_dit/  dual_tower_bridge/  video_vae/  audio_vae/  text_encoder/  tokenizer/  scheduler/
README.md  LICENSE  lineage.json  samples.png  demo/{clip.mp4, first_frame.png, demo.json}
checksums.sha256
```
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.config import Config, save_config
from mova_core.data.media import iter_frames, read_clip, write_clip
from mova_core.data.records import LatentRow, Sample
from mova_core.errors import UserError
from mova_core.files import flush_to_disk, write_bytes, write_text
from mova_core.inference.defaults import Defaults
from mova_core.inference.preview import contact_sheet
from mova_core.release.card import CardFacts, model_card
from mova_core.release.checksums import write_checksums
from mova_core.versioning.lineage import Lineage

DISTRIBUTION = "mova-lineage"
INDEX_FILE = "model_index.json"
SHEET_FILE = "samples.png"
DEMO_CLIP, DEMO_FRAME, DEMO_FILE = "demo/clip.mp4", "demo/first_frame.png", "demo/demo.json"
CODEC_FOLDERS = ("video_vae", "audio_vae", "text_encoder", "tokenizer")
LIBRARIES = {"text_encoder": "transformers", "tokenizer": "transformers", "scheduler": "mova_core.diffusion.scheduler"}
CONFIG_FILES = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}


@dataclass(frozen=True)
class Demo:
    """A clip that anybody can make again from the release: what is given, and what came of it."""

    prompt: str
    seed: int
    first_frame: NDArray[np.uint8]
    frames: NDArray[np.uint8]
    waveform: NDArray[np.float32]


@dataclass(frozen=True)
class Contents:
    """All that goes into a release.

    Attributes
    ----------
    checkpoint, codecs : folders to take weights from.
    samples, samples_folder : the rows whose clips the card shows, and where those lie.
    parameters : component -> number of parameters.
    """

    config: Config
    checkpoint: Path
    codecs: Path
    metrics: dict[str, float]
    rows: list[LatentRow]
    samples: list[Sample]
    samples_folder: Path
    parameters: dict[str, int]
    defaults: Defaults
    lineage: Lineage
    demo: Demo
    sample_rate_hz: int


def build(folder: Path, contents: Contents) -> None:
    """Writes the whole release into `folder`, which must be empty or absent; the checksums last."""
    _copy_parts(contents, folder)
    contents.defaults.save(folder)
    save_config(contents.config, folder / "params.yaml")
    write_text(folder / "LICENSE", licence_text())
    _write_demo(contents, folder)
    _write_sheet(contents, folder)
    contents.lineage.save(folder)
    write_text(folder / "README.md", model_card(_card_facts(contents)))
    write_checksums(folder)
    for path in folder.rglob("*"):
        flush_to_disk(path)


def first_frame_of(sample: Path) -> NDArray[np.uint8]:
    """The picture that a sample starts with ``[H, W, 3]``."""
    return next(iter_frames(sample)).pixels


def licence_text() -> str:
    """The project's licence, from the installed distribution.

    Raises
    ------
    UserError : if the installation lost it.
    """
    # A checkout that was built in place lies on the path as a second, partial distribution of the same name.
    installed = metadata.distributions(name=DISTRIBUTION)
    text = next((text for found in installed if (text := found.read_text("licenses/LICENSE"))), None)
    if text is None:
        raise UserError(
            f"the installed {DISTRIBUTION} has no LICENSE",
            expected="the file beside its metadata",
            remedy="install the project again (`make install`)",
        )
    return text


def _copy_parts(contents: Contents, folder: Path) -> None:
    index = json.loads((contents.checkpoint / INDEX_FILE).read_text(encoding="utf-8"))
    for path in sorted(contents.checkpoint.iterdir()):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
    for name in CODEC_FOLDERS:
        shutil.copytree(contents.codecs / name, folder / name)
    for name in (*CODEC_FOLDERS, "scheduler"):
        index[name] = _class_of(folder, name)
    write_text(folder / INDEX_FILE, json.dumps(index, indent=2, sort_keys=True) + "\n")


def _class_of(folder: Path, name: str) -> list[str]:
    """[library, class] of a part, as model_index.json has it, from the part's own configuration."""
    entries = json.loads((folder / name / CONFIG_FILES.get(name, "config.json")).read_text(encoding="utf-8"))
    kind = (
        entries.get("_class_name") or entries.get("tokenizer_class") or next(iter(entries.get("architectures", ())), "")
    )
    return [LIBRARIES.get(name, "mova_core.codecs" if kind.startswith("Nano") else "diffusers"), kind]


def _write_demo(contents: Contents, folder: Path) -> None:
    import cv2

    demo, settings = contents.demo, contents.defaults.settings
    _, picture = cv2.imencode(".png", cv2.cvtColor(demo.first_frame, cv2.COLOR_RGB2BGR))
    write_bytes(folder / DEMO_FRAME, picture.tobytes())
    write_clip(folder / DEMO_CLIP, demo.frames, demo.waveform, settings.fps, contents.sample_rate_hz, audio_codec="aac")
    recipe = {"prompt": demo.prompt, "seed": demo.seed, "first_frame": DEMO_FRAME, **asdict(settings)}
    write_text(folder / DEMO_FILE, json.dumps(recipe, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _write_sheet(contents: Contents, folder: Path) -> None:
    shown = [read_clip(contents.samples_folder / sample.path) for sample in contents.samples]
    contact_sheet(shown, [f"{sample.label}: {sample.prompt}" for sample in contents.samples], folder / SHEET_FILE)


def _card_facts(contents: Contents) -> CardFacts:
    return CardFacts(
        config=contents.config,
        parameters=contents.parameters,
        metrics=contents.metrics,
        rows=contents.rows,
        lineage=contents.lineage,
        defaults=contents.defaults.settings,
        sheet=SHEET_FILE,
        demo_clip=DEMO_CLIP,
        demo_prompt=contents.demo.prompt,
    )
