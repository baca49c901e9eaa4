"""The one configuration: read from params.yaml, checked, frozen, passed to every step.

A preset is a complete params.yaml. `load_config` turns every mistake in it into one line: the key, the nearest
valid name, the file.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator

from mova_core.config.base import Section
from mova_core.config.curation import CaptionConfig, CorpusConfig, CurateConfig, IngestConfig
from mova_core.config.encode import EncodeConfig
from mova_core.config.evaluation import EvaluateConfig
from mova_core.config.media import MediaConfig
from mova_core.config.mistakes import first_mistake, nearest
from mova_core.config.model import ModelConfig
from mova_core.config.reading import read_mapping, read_utf8
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
                raise ValueError(f"a collection is named {name!r}, expected letters, digits, '-' and '_'")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice, expected each collection once")
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
            remedy=nearest("use", name, preset_names()),
        )
    return (resources.files("mova_core") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(path: Path) -> Config:
    """Reads and checks params.yaml.

    Raises
    ------
    UserError : if the file is absent, is not UTF-8 or YAML, or holds an unknown, missing, repeated or ill-typed key.
    """
    if not path.is_file():
        raise UserError(
            f"no configuration at {path}", expected="a params.yaml", remedy="run `mova init --preset nano` there first"
        )
    return parse_config(read_utf8(path), source=str(path))


def parse_config(text: str, source: str) -> Config:
    """As `load_config`, from text; `source` names it in errors."""
    try:
        return Config.model_validate(read_mapping(text, source))
    except ValidationError as error:
        raise first_mistake(Config, error, source) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, keys in their declared order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def save_config(config: Config, path: Path) -> None:
    """Stores the resolved configuration beside an output."""
    write_text(path, dump_config(config))
