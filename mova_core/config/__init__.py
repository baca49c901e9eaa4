"""The one configuration: read from params.yaml, checked, frozen, passed to every step.

A preset is a complete params.yaml. `load_config` turns every mistake in it into one line: the key, the nearest
valid name, the file.
"""

from __future__ import annotations

import difflib
import typing
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from mova_core.config.base import Section
from mova_core.config.curation import CaptionConfig, CorpusConfig, CurateConfig, IngestConfig
from mova_core.config.encode import EncodeConfig
from mova_core.config.evaluation import EvaluateConfig
from mova_core.config.media import MediaConfig
from mova_core.config.model import ModelConfig
from mova_core.config.release import ReleaseConfig
from mova_core.config.sampling import SampleConfig
from mova_core.config.training import TrainConfig
from mova_core.errors import UserError
from mova_core.files import write_text

COLLECTION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class Config(Section):
    """Everything a run depends on besides code and raw data."""

    preset: str
    seed: int = Field(ge=0)
    collections: tuple[str, ...] = Field(min_length=1)
    media: MediaConfig
    corpus: CorpusConfig
    ingest: IngestConfig
    curate: CurateConfig
    caption: CaptionConfig
    encode: EncodeConfig
    model: ModelConfig
    train: TrainConfig
    sample: SampleConfig
    evaluate: EvaluateConfig
    release: ReleaseConfig

    @field_validator("collections")
    @classmethod
    def _plain_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        import re

        for name in names:
            if not re.match(COLLECTION_NAME, name):
                raise ValueError(f"collection name {name!r}, expected letters, digits, '-' and '_'")
        return names


def preset_names() -> list[str]:
    """The names `mova init --preset` takes."""
    folder = resources.files("mova_core") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """A preset's file, comments and all.

    Raises
    ------
    UserError : if there is no such preset.
    """
    if name not in preset_names():
        raise UserError(
            f"no preset named {name!r}",
            expected=f"one of {', '.join(preset_names())}",
            remedy=_nearest("use", name, preset_names()),
        )
    return (resources.files("mova_core") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(path: Path) -> Config:
    """Reads and checks params.yaml.

    Raises
    ------
    UserError : if the file is absent, is not YAML, or holds an unknown, missing or ill-typed key.
    """
    if not path.is_file():
        raise UserError(
            f"no configuration at {path}", expected="a params.yaml", remedy="run `mova init --preset nano` there first"
        )
    return parse_config(path.read_text(encoding="utf-8"), source=str(path))


def parse_config(text: str, source: str) -> Config:
    """As `load_config`, from text; `source` names it in errors."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML ({error})", expected="YAML", remedy="mend the line it names") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{source} holds {type(values).__name__}",
            expected="a mapping of sections",
            remedy="start from `mova init --preset nano`",
        )
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _first_mistake(error, source) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, keys in their declared order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def save_config(config: Config, path: Path) -> None:
    """Stores the resolved configuration beside an output."""
    write_text(path, dump_config(config))


def _first_mistake(error: ValidationError, source: str) -> UserError:
    mistake = error.errors()[0]
    location = ".".join(str(part) for part in mistake["loc"]) or "the file"
    if mistake["type"] == "extra_forbidden":
        valid = _valid_names(mistake["loc"][:-1])
        name = str(mistake["loc"][-1])
        return UserError(
            f"unknown key {location} in {source}",
            expected=f"one of {', '.join(valid)}" if valid else "no key there",
            remedy=_nearest("write", name, valid),
        )
    if mistake["type"] == "missing":
        return UserError(
            f"missing key {location} in {source}",
            expected="a value",
            remedy="add it (`mova init --preset nano --print` shows a complete file)",
        )
    return UserError(
        f"{location} is {mistake.get('input')!r} in {source}", expected=mistake["msg"], remedy="mend that line"
    )


def _valid_names(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Config
    for part in location:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        if part not in model.model_fields:
            return []
        model = model.model_fields[str(part)].annotation
        for argument in typing.get_args(model):
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                model = argument
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return []


def _nearest(verb: str, name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f"{verb} {close[0]!r}" if close else "remove it" if verb == "write" else "choose one of those"
