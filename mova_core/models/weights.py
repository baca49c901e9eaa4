"""Models on disk, in the release's folder layout (`mova_core.models.layout`).

`model_index.json` goes first and comes last, so a folder that has one is whole, also where a model replaces another.
Weights are safetensors and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kernels.dispatch import Request
from mova_core.errors import UserError
from mova_core.files import write_text, written_aside
from mova_core.models.build import check_kernels
from mova_core.models.dual_tower import DualTower
from mova_core.models.layers import set_compute_dtype
from mova_core.models.layout import INDEX, components, config_entries, json_text, model_index, read_config, read_json

WEIGHTS = "diffusion_pytorch_model.safetensors"
SHARD_INDEX = f"{WEIGHTS}.index.json"


def save_model(
    model: DualTower,
    folder: Path,
    *,
    state: Mapping[str, torch.Tensor] | None = None,
    index_entries: Mapping[str, object] | None = None,
) -> None:
    """Writes the model; equal weights give equal bytes.

    Parameters
    ----------
    state : weights to write instead of the model's own (an average of them, or gathered shards), by full name.
    index_entries : further entries of model_index.json (codecs that lie in the same folder).

    Raises
    ------
    ValueError : if `state` lacks a parameter of the model, has another, or has one of another shape.
    """
    state = model.state_dict() if state is None else state
    problems = mismatches(state, {name: tuple(value.shape) for name, value in model.state_dict().items()})
    if problems:
        raise ValueError(f"the given state does not fit the model: {'; '.join(problems)}")
    (folder / INDEX).unlink(missing_ok=True)
    for component in components(model.config):
        prefix = component + "."
        own = {
            name.removeprefix(prefix): value.detach().contiguous().cpu()
            for name, value in state.items()
            if name.startswith(prefix)
        }
        (folder / component / SHARD_INDEX).unlink(missing_ok=True)
        with written_aside(folder / component / WEIGHTS) as aside:
            save_file(own, aside, metadata={"format": "pt"})
        write_text(folder / component / "config.json", json_text(config_entries(model.config, component)))
    write_text(folder / INDEX, json_text({**model_index(model.config), **(index_entries or {})}))


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    compute_dtype: torch.dtype | None = None,
    kernels: Request = "auto",
) -> DualTower:
    """Reads a model that `save_model`, or the release, wrote.

    Parameters
    ----------
    dtype : of the parameters; None keeps what is stored.
    compute_dtype : of the products; None stands for the parameters'.

    Raises
    ------
    UserError : if the folder holds no checkpoint, or its weights do not fit its configuration; parameters that are
        unknown, missing or of another shape are listed by name. Also if `kernels` cannot run here.
    """
    check_kernels(kernels)
    with torch.device("meta"):
        model = DualTower(read_config(folder), kernels)
    for component in components(model.config):
        weights = read_weights(folder / component)
        module = model.get_submodule(component)
        _check_fit(weights, module, folder / component)
        module.load_state_dict({name: value.to(dtype or value.dtype) for name, value in weights.items()}, assign=True)
    set_compute_dtype(model, compute_dtype)
    return model


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of one component, from one file or from the several that an index names.

    Raises
    ------
    UserError : if they are not there or cannot be read.
    """
    sharded = folder / SHARD_INDEX
    names = sorted(set(read_json(sharded)["weight_map"].values())) if sharded.is_file() else [WEIGHTS]
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise UserError(
                f"no weights at {path}", expected="a safetensors file", remedy="train or fetch the checkpoint first"
            )
        try:
            weights.update(load_file(path))
        except SafetensorError as error:
            raise UserError(
                f"{path} is not readable as safetensors ({error})",
                expected="a whole file",
                remedy="delete it and train or fetch the checkpoint again",
            ) from error
    return weights


def mismatches(found: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What differs between stored tensors and a model's parameters: the unknown, the missing, the misshapen."""
    unknown = sorted(found.keys() - expected.keys())
    missing = sorted(expected.keys() - found.keys())
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {expected[name]}"
        for name in sorted(found.keys() & expected.keys())
        if tuple(found[name].shape) != expected[name]
    ]
    kinds = {"unknown": unknown, "missing": missing, "of another shape": misshapen}
    return [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names]


def _check_fit(weights: Mapping[str, torch.Tensor], module: nn.Module, folder: Path) -> None:
    problems = mismatches(weights, {name: tuple(value.shape) for name, value in module.state_dict().items()})
    if problems:
        raise UserError(
            f"the weights in {folder} do not fit its config.json ({'; '.join(problems)})",
            expected="exactly the parameters that the configuration describes",
            remedy="restore the config.json that belongs to these weights, or fetch both again",
        )
