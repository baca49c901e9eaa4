"""The release's folder layout: which folders a checkpoint has, and what their JSON files say.

```
FOLDER/model_index.json                  component classes, boundary_ratio
FOLDER/<component>/config.json           the component's shape
FOLDER/<component>/diffusion_pytorch_model.safetensors    or .safetensors.index.json beside several files
```

Components are video_dit, video_dit_2, audio_dit and dual_tower_bridge; codecs and a scheduler may lie beside them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from mova_core.errors import UserError
from mova_core.models.audio_tower import AudioTowerConfig
from mova_core.models.bridge import BridgeConfig, Strategy
from mova_core.models.dual_tower import DualTowerConfig
from mova_core.models.rope import AudioScheme
from mova_core.models.video_tower import VideoTowerConfig

INDEX = "model_index.json"
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

RELEASED_DEFAULTS: dict[type, dict[str, object]] = {
    AudioTowerConfig: {"vae_type": "oobleck"},
    BridgeConfig: {"apply_cross_rope": False, "interaction_strategy": "shallow_focus"},
}
"""What the release's classes take where a config.json is silent and ours would take something else."""

CHOICES: dict[object, tuple[str, ...]] = {"Strategy": get_args(Strategy), "AudioScheme": get_args(AudioScheme)}
"""The names that a field of such a type can have."""

ComponentConfig = TypeVar("ComponentConfig", VideoTowerConfig, AudioTowerConfig, BridgeConfig)


def read_config(folder: Path) -> DualTowerConfig:
    """The joint model's shape, from the folder's JSON files.

    Raises
    ------
    UserError : as `load_model`.
    """
    index = read_json(folder / INDEX)
    boundary_ratio = index.get("boundary_ratio")
    if not isinstance(boundary_ratio, int | float) or not 0 <= boundary_ratio <= 1:
        raise UserError(
            f"boundary_ratio is {boundary_ratio!r} in {folder / INDEX}",
            expected="a number from 0 to 1, the noise level at which the experts change places",
            remedy="fetch the checkpoint's model_index.json again",
        )
    num_experts: Literal[1, 2] = 2 if (index.get("video_dit_2") or [None])[0] else 1
    return DualTowerConfig(
        video=component_config(VideoTowerConfig, read_json(folder / "video_dit" / "config.json")),
        audio=component_config(AudioTowerConfig, read_json(folder / "audio_dit" / "config.json")),
        bridge=component_config(BridgeConfig, read_json(folder / "dual_tower_bridge" / "config.json")),
        num_experts=num_experts,
        boundary_ratio=float(boundary_ratio),
    )


def component_config(kind: type[ComponentConfig], entries: Mapping[str, Any]) -> ComponentConfig:
    """A component's shape from the entries of its config.json; keys without effect are passed over.

    A key that may be missing stands for what the release's class takes then.

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
    entries = {**RELEASED_DEFAULTS.get(kind, {}), **entries}
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
    wrong = [name for name, value in values.items() if not _has_kind(value, known[name].type)]
    if wrong:
        raise UserError(
            f"a configuration of {kind.__name__} has {', '.join(f'{name} {values[name]!r}' for name in wrong)}",
            expected=", ".join(f"{name} a possible {known[name].type}" for name in wrong),
            remedy="fetch the checkpoint's config.json again",
        )
    return kind(**values)


def _has_kind(value: object, annotation: object) -> bool:
    """Whether a value of a config.json is one that its field can have; all numbers of a shape are positive."""
    if annotation == "bool":
        return isinstance(value, bool)
    if annotation == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    if annotation in CHOICES:
        return value in CHOICES[annotation]
    sizes = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) != str(annotation).startswith("tuple"):
        return False
    wanted = str(annotation).count("int")
    return len(sizes) == wanted and all(type(size) is int and size > 0 for size in sizes)


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


def config_entries(config: DualTowerConfig, component: str) -> dict[str, object]:
    """A component's config.json, with every key that readers of the release look for."""
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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a checkpoint's JSON file.

    Raises
    ------
    UserError : if the file is not there or holds none.
    """
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


def json_text(entries: Mapping[str, object]) -> str:
    """JSON as it is stored: indented, keys in order, so that equal entries give equal bytes."""
    return json.dumps(entries, indent=2, sort_keys=True) + "\n"
