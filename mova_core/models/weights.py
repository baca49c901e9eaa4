"""Models on disk, in the release's folder layout (`mova_core.models.layout`).

`model_index.json` goes first and comes last, so a folder that has one is whole, also where a model replaces another.
Weights are safetensors and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from kernels.dispatch import Request
from mova_core.data.weights import INDEX_SUFFIX, WEIGHTS_FILE, fill, mapped_weights, mismatches, shapes_of
from mova_core.errors import UserError
from mova_core.files import write_text, written_aside
from mova_core.models.build import check_kernels
from mova_core.models.dual_tower import DualTower
from mova_core.models.layers import set_compute_dtype
from mova_core.models.layout import INDEX, components, config_entries, json_text, model_index, read_config
from mova_core.models.rope import check_head_dim

SHARD_INDEX = f"{WEIGHTS_FILE}{INDEX_SUFFIX}"


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
    problems = mismatches(state, shapes_of(model))
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
        with written_aside(folder / component / WEIGHTS_FILE) as aside:
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
    config = read_config(folder)
    try:
        with torch.device("meta"):
            model = DualTower(config, kernels)
        check_head_dim(model.video_dit.head_dim)
    except ValueError as error:
        raise UserError(
            f"the configuration in {folder} fits no model ({error})",
            expected="towers and a Bridge that fit each other",
            remedy="fetch the checkpoint's config.json files again",
        ) from error
    for component in components(model.config):
        weights = mapped_weights(folder / component)
        fill(model.get_submodule(component), weights, folder / component, dtype=dtype)
    set_compute_dtype(model, compute_dtype)
    return model
