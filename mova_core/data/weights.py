"""The one reader of stored weights, for models and codecs.

Safetensors and nothing else: a file is mapped into memory, so a tensor's bytes are read when they are first used and
lie in memory once; nothing of a checkpoint's folder is run. Weights lie in one file, or in the several that an index
beside it names, as diffusers and transformers write them::

    FOLDER/diffusion_pytorch_model.safetensors
    FOLDER/diffusion_pytorch_model.safetensors.index.json    {"weight_map": {"name": "part.safetensors", ...}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mova_core.errors import UserError

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
"""The name that diffusers gives."""
TRANSFORMERS_WEIGHTS_FILE = "model.safetensors"
INDEX_SUFFIX = ".index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
READABLE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MOST_NAMES_TOLD = 20

Shapes = Mapping[str, tuple[int, ...]]


def mapped_weights(folder: Path, file_name: str = WEIGHTS_FILE) -> dict[str, Tensor]:
    """All tensors of one component, mapped from its files: no byte of them is read before it is used.

    Tensors may be changed in place; such a change stays in memory and never reaches the file.

    Raises
    ------
    UserError : if a file is absent, cut short or no safetensors file; if the index names a file outside the folder, or
        a tensor that its file lacks; if a tensor lies in two files.
    """
    index = folder / f"{file_name}{INDEX_SUFFIX}"
    placed = _read_index(index) if index.is_file() else None
    weights: dict[str, Tensor] = {}
    for name in [file_name] if placed is None else sorted(set(placed.values())):
        part = _map_file(folder / name)
        twice = sorted(weights.keys() & part.keys())
        if twice:
            raise _damaged(folder / name, f"holds {listed(twice)}, which another file of the folder holds as well")
        absent = sorted(key for key, file in (placed or {}).items() if file == name and key not in part)
        if absent:
            raise _damaged(folder / name, f"lacks {listed(absent)}, which {index.name} places there")
        weights.update(part)
    return weights


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: Path, *, dtype: torch.dtype | None = None) -> None:
    """Puts `weights` into `module`'s parameters and buffers by name, without a copy where the dtype stays.

    The module may lie on the meta device. source : where the weights come from, for messages.

    Raises
    ------
    UserError : if names or shapes differ from the module's, or a value is not finite; each is listed by name.
    """
    check_fit(weights, shapes_of(module), source)
    check_finite(weights, source)
    module.load_state_dict({name: value.to(dtype or value.dtype) for name, value in weights.items()}, assign=True)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of what `module` stores, by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def check_fit(weights: Mapping[str, Tensor], expected: Shapes, source: Path) -> None:
    """Holds stored weights to the shapes that a configuration describes.

    Raises
    ------
    UserError : with the unknown, the missing and the misshapen by name, and with values that are no plain floats.
    """
    problems = mismatches(weights, expected)
    strange = [f"{name} ({value.dtype})" for name, value in weights.items() if value.dtype not in READABLE_DTYPES]
    if strange:
        problems.append(f"{len(strange)} not stored as plain floating point: {listed(strange)}")
    if problems:
        raise UserError(
            f"the weights in {source} do not fit its config.json ({'; '.join(problems)})",
            expected="exactly the parameters that the configuration describes",
            remedy="restore the config.json that belongs to these weights, or fetch both again",
        )


def mismatches(found: Mapping[str, Tensor], expected: Shapes) -> list[str]:
    """What differs between stored tensors and a model's parameters: the unknown, the missing, the misshapen."""
    unknown = sorted(found.keys() - expected.keys())
    missing = sorted(expected.keys() - found.keys())
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {expected[name]}"
        for name in sorted(found.keys() & expected.keys())
        if tuple(found[name].shape) != expected[name]
    ]
    kinds = {"unknown": unknown, "missing": missing, "of another shape": misshapen}
    return [f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds.items() if names]


def check_finite(weights: Mapping[str, Tensor], source: Path) -> None:
    """Reads every value once.

    Raises
    ------
    UserError : naming the tensors that hold NaN or infinity.
    """
    # A sum meets every NaN and infinity in one pass and needs no memory; a finite sum cannot hide one.
    suspects = [name for name, value in weights.items() if not value.sum(dtype=torch.float32).isfinite()]
    broken = [name for name in suspects if not weights[name].isfinite().all()]
    if broken:
        raise UserError(
            f"the weights in {source} hold values that are not finite ({listed(broken)})",
            expected="finite numbers",
            remedy="fetch the checkpoint again, or take one from before its training diverged",
        )


def listed(names: Iterable[str]) -> str:
    """Names after commas, the first few of many."""
    names = list(names)
    more = f" and {len(names) - MOST_NAMES_TOLD} more" if len(names) > MOST_NAMES_TOLD else ""
    return ", ".join(names[:MOST_NAMES_TOLD]) + more


def _map_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        pickles = sorted(file.name for file in path.parent.glob("*") if file.suffix in PICKLES)
        raise UserError(
            f"no weights at {path}"
            + (f" (pickles can run code and are not read: {listed(pickles)})" if pickles else ""),
            expected="a safetensors file",
            remedy="fetch the checkpoint whole, or run the step that makes it",
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise _damaged(path, f"is not readable as safetensors ({error})") from error


def _read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name, of an index."""
    try:
        entries: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, f"is not JSON ({error})") from error
    placed = entries.get("weight_map") if isinstance(entries, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(name, str) for name in placed.values()):
        raise _damaged(path, "holds no weight_map of tensor names to file names")
    # Links are followed (download caches use them), names that lead elsewhere are not.
    outside = {name for name in placed.values() if Path(name).name != name or Path(name).suffix != ".safetensors"}
    if outside:
        raise _damaged(path, f"names what is no safetensors file of its own folder ({listed(sorted(outside))})")
    return placed


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", expected="a whole checkpoint", remedy="delete it and fetch or make it again")
