"""Warps, stages and block sizes: looked up, never searched at start-up.

A kernel names its candidates, the first of which serves where nothing was measured. `python -m kernels.bench --tune`
times them and keeps the winners in `kernels/tuned/<device>.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

FOLDER = Path(__file__).parent / "tuned"

Key = tuple[int | str, ...]
"""What a choice may depend on: widths, dtypes. Never lengths, which differ from clip to clip."""


@dataclasses.dataclass(frozen=True)
class Config:
    """How a kernel is launched.

    Attributes
    ----------
    programs : of each multiprocessor, for a kernel whose programs stay until all is done; 0 for the others. More than
        fit at once would run in two waves, the second of them nearly empty.
    blocks : constants of the kernel, by their names in its signature.
    """

    num_warps: int
    num_stages: int
    programs: int
    blocks: Mapping[str, int]

    def __init__(self, *, num_warps: int, num_stages: int = 1, programs: int = 0, **blocks: int) -> None:
        object.__setattr__(self, "num_warps", num_warps)
        object.__setattr__(self, "num_stages", num_stages)
        object.__setattr__(self, "programs", programs)
        object.__setattr__(self, "blocks", MappingProxyType(blocks))

    def as_dict(self) -> dict[str, int]:
        """For JSON; `Config(**dict)` is the way back."""
        programs = {"programs": self.programs} if self.programs else {}
        return {"num_warps": self.num_warps, "num_stages": self.num_stages, **programs, **self.blocks}


@dataclasses.dataclass(frozen=True)
class Tunable:
    """A kernel whose configuration may be chosen.

    Attributes
    ----------
    name : operator and pass, e.g. "norm_rotate.forward".
    candidates : from a key to configurations that compile without spilling; the first is the default.
    """

    name: str
    candidates: Callable[[Key], tuple[Config, ...]]

    def configuration(self, key: Key, device: torch.device) -> Config:
        """The configuration in force: a forced one, else the one kept for this device, else the default."""
        if self.name in _forced:
            return _forced[self.name]
        if device.type == "cuda":
            kept = _kept(torch.cuda.get_device_name(device), FOLDER).get(entry(self.name, key))
            if kept is not None:
                return kept
        return self.candidates(key)[0]


_forced: dict[str, Config] = {}


@contextlib.contextmanager
def forcing(name: str, config: Config) -> Iterator[None]:
    """Within, the tunable `name` runs with `config`."""
    before = _forced.get(name)
    _forced[name] = config
    try:
        yield
    finally:
        del _forced[name]
        if before is not None:
            _forced[name] = before


def entry(name: str, key: Key) -> str:
    """The name under which a choice is kept."""
    return " ".join((name, *map(str, key)))


def keep(device_name: str, choices: Mapping[str, Config], folder: Path = FOLDER) -> Path:
    """Writes choices (by `entry`) into the device's file, beside those that it has for other entries."""
    path = folder / f"{slug(device_name)}.json"
    merged = {**_kept(device_name, folder), **choices}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: merged[name].as_dict() for name in sorted(merged)}, indent=1)
    aside = path.with_suffix(".json.tmp")
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(path)
    _kept.cache_clear()
    return path


@functools.lru_cache
def _kept(device_name: str, folder: Path) -> dict[str, Config]:
    path = folder / f"{slug(device_name)}.json"
    if not path.exists():
        return {}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Config(**values) for name, values in kept.items()}


def slug(device_name: str) -> str:
    """A device's name as part of a file's name: "NVIDIA H200" becomes "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")
