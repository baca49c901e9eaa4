"""Whether a release folder is what was released: every byte, every component, nothing that runs code on loading."""

from __future__ import annotations

import json
from pathlib import Path

from mova_core.errors import UserError
from mova_core.release.checksums import checksum_problems, files_of

# Component folder -> a file that it cannot be loaded without.
COMPONENTS = {
    "video_dit": "config.json",
    "audio_dit": "config.json",
    "dual_tower_bridge": "config.json",
    "video_vae": "config.json",
    "audio_vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
SECOND_EXPERT = "video_dit_2"
DOCUMENTS = ("model_index.json", "README.md", "LICENSE", "lineage.json")
PICKLED_SUFFIXES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def verify_release(folder: Path) -> list[str]:
    """One sentence a problem; empty if the folder is whole.

    Checks the list of checksums (missing, altered and added files), the components that model_index.json names, the
    documents, and that no weights are stored in a format that can run code when it is loaded.

    Raises
    ------
    UserError : if `folder` is not a folder at all.
    """
    if not folder.is_dir():
        raise UserError(f"no folder at {folder}", expected="a release folder", remedy="run `mova release` to make one")
    return checksum_problems(folder) + layout_problems(folder)


def layout_problems(folder: Path) -> list[str]:
    """What is amiss with the folder's layout, checksums aside."""
    problems = [f"{name} is missing" for name in DOCUMENTS if not (folder / name).is_file()]
    index: object = {}
    if (folder / "model_index.json").is_file():
        try:
            index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        except ValueError as error:
            problems.append(f"model_index.json is not JSON ({error})")
    if not isinstance(index, dict):
        index = {}
        problems.append("model_index.json is not an object that names components")
    wanted = dict(COMPONENTS)
    if SECOND_EXPERT in index:
        wanted[SECOND_EXPERT] = "config.json"
    for component, file in sorted(wanted.items()):
        if not (folder / component / file).is_file():
            problems.append(f"component {component} has no {file}")
    problems += [
        f"{name} may run code when it is loaded; weights are safetensors only"
        for name in files_of(folder)
        if name.endswith(PICKLED_SUFFIXES)
    ]
    return problems
