"""Models on disk, in the release's folder layout.

```
FOLDER/model_index.json                  component classes, boundary_ratio
FOLDER/<component>/config.json           the component's shape
FOLDER/<component>/diffusion_pytorch_model.safetensors    or .safetensors.index.json beside several files
```

Components are video_dit, video_dit_2, audio_dit and dual_tower_bridge. `model_index.json` is written last, so a folder
that has one is whole. Weights are safetensors and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kernels.dispatch import Request
from mova_core.errors import UserError
from mova_core.files import write_text, written_aside
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig
from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import set_compute_dtype
from mova_core.models.video_tower import VideoTowerConfig

INDEX = "model_index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FORMAT_VERSION = "0.36.0"
"""The version of the layout that the release states."""

CLASSES = {
    "video_dit": ("mova.diffusion.models.wan_video_dit", "WanModel"),
    "video_dit_2": ("mova.diffusion.models.wan_video_dit", "WanModel"),
    "audio_dit": ("mova.diffusion.models.wan_audio_dit", "WanAudioModel"),
    "dual_tower_bridge": ("mova.diffusion.models.interactionv2", "DualTowerConditionalBridge"),
}
UNUSED_BRANCHES: dict[str, object] = {
    "add_control_adapter": False,
    "fuse_vae_embedding_in_latents": False,
    "has_image_input": False,
    "has_image_pos_emb": False,
    "has_ref_conv": False,
    "seperated_timestep": False,
}
"""Branches of the towers' family that no MOVA release has; a configuration that switches one on is refused."""
INERT_KEYS: dict[str, dict[str, object]] = {
    "video_dit": {"in_dim_control_adapter": 24, "require_clip_embedding": False, "require_vae_embedding": True},
    "audio_dit": {"in_dim_control_adapter": 24, "require_clip_embedding": True, "require_vae_embedding": True},
    "dual_tower_bridge": {},
}
"""Keys without effect here that readers of the release look for."""
OWN_KEYS: dict[str, object] = {"spatial_rope_scale": 1.0}
"""Keys that the release does not know, with its value; written only where they differ."""

ComponentConfig = TypeVar("ComponentConfig", VideoTowerConfig, AudioTowerConfig, BridgeConfig)


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
    for component in components(model.config):
        prefix = component + "."
        own = {
            name.removeprefix(prefix): value.detach().contiguous().cpu()
            for name, value in state.items()
            if name.startswith(prefix)
        }
        with written_aside(folder / component / WEIGHTS) as aside:
            save_file(own, aside, metadata={"format": "pt"})
        write_text(folder / component / "config.json", _json(_config_entries(model.config, component)))
    write_text(folder / INDEX, _json({**model_index(model.config), **(index_entries or {})}))


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
        unknown, missing or of another shape are listed by name.
    """
    with torch.device("meta"):
        model = DualTower(read_config(folder), kernels)
    for component in components(model.config):
        weights = read_weights(folder / component)
        module = model.get_submodule(component)
        _check_fit(weights, module, folder / component)
        module.load_state_dict({name: value.to(dtype or value.dtype) for name, value in weights.items()}, assign=True)
    set_compute_dtype(model, compute_dtype)
    return model


def read_config(folder: Path) -> DualTowerConfig:
    """The joint model's shape, from the folder's JSON files.

    Raises
    ------
    UserError : as `load_model`.
    """
    index = _read_json(folder / INDEX)
    num_experts: Literal[1, 2] = 2 if (index.get("video_dit_2") or [None])[0] else 1
    return DualTowerConfig(
        video=component_config(VideoTowerConfig, _read_json(folder / "video_dit" / "config.json")),
        audio=component_config(AudioTowerConfig, _read_json(folder / "audio_dit" / "config.json")),
        bridge=component_config(BridgeConfig, _read_json(folder / "dual_tower_bridge" / "config.json")),
        num_experts=num_experts,
        boundary_ratio=float(index["boundary_ratio"]),
    )


def component_config(kind: type[ComponentConfig], entries: Mapping[str, Any]) -> ComponentConfig:
    """A component's shape from the entries of its config.json; keys without effect are passed over.

    Raises
    ------
    UserError : if an entry that the shape needs is missing, or one switches on a branch that is not built.
    """
    for name, off in UNUSED_BRANCHES.items():
        if entries.get(name, off) != off:
            raise UserError(
                f"{name} is {entries[name]!r} in a configuration of {kind.__name__}",
                expected=f"{off!r}, as in every MOVA release",
                remedy="use a checkpoint of the MOVA family",
            )
    known = {field.name: field for field in dataclasses.fields(kind)}
    missing = [name for name, field in known.items() if name not in entries and field.default is dataclasses.MISSING]
    if missing:
        raise UserError(
            f"a configuration of {kind.__name__} lacks {', '.join(missing)}",
            expected="every entry of the component's shape",
            remedy="fetch the checkpoint's config.json again",
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entries.items() if name in known
    }
    return kind(**values)


def components(config: DualTowerConfig) -> tuple[str, ...]:
    """The folders that hold the model's parts."""
    return tuple(name for name in CLASSES if name != "video_dit_2" or config.num_experts == 2)


def model_index(config: DualTowerConfig) -> dict[str, object]:
    """The model's entries in model_index.json."""
    return {
        "_class_name": "MOVA",
        "_diffusers_version": FORMAT_VERSION,
        "audio_vae_type": config.audio.vae_type,
        "boundary_ratio": config.boundary_ratio,
        **{component: list(CLASSES[component]) for component in components(config)},
    }


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of one component, from one file or from the several that an index names.

    Raises
    ------
    UserError : if they are not there or cannot be read.
    """
    sharded = folder / f"{WEIGHTS}.index.json"
    names = sorted(set(_read_json(sharded)["weight_map"].values())) if sharded.is_file() else [WEIGHTS]
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


def _config_entries(config: DualTowerConfig, component: str) -> dict[str, object]:
    shape = {"audio_dit": config.audio, "dual_tower_bridge": config.bridge}.get(component, config.video)
    kind = "video_dit" if component == "video_dit_2" else component
    own = {
        name: value
        for name, value in dataclasses.asdict(shape).items()  # type: ignore[call-overload]  # one of three dataclasses
        if OWN_KEYS.get(name) != value
    }
    branches = {} if component == "dual_tower_bridge" else UNUSED_BRANCHES
    return {
        "_class_name": CLASSES[component][1],
        "_diffusers_version": FORMAT_VERSION,
        **branches,
        **INERT_KEYS[kind],
        **own,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"no checkpoint: {path} is not there",
            expected="a folder with model_index.json and its components",
            remedy="train it (`mova train --phase ...`) or give the folder of a release",
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error})", expected="JSON", remedy="fetch or write the checkpoint again"
        ) from error
    if not isinstance(entries, dict):
        raise UserError(f"{path} holds no JSON object", expected="an object", remedy="fetch the checkpoint again")
    return entries


def _json(entries: Mapping[str, object]) -> str:
    return json.dumps(entries, indent=2, sort_keys=True) + "\n"
