"""YAML read strictly: UTF-8, one mapping, and no key twice, of which YAML itself would keep the last without a word."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mova_core.errors import UserError


def read_utf8(path: Path) -> str:
    """The text of a file that a person edits.

    Raises
    ------
    UserError : if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not UTF-8 text (line {line})", expected="UTF-8", remedy="save it as UTF-8 in your editor"
        ) from error


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping that YAML `text` holds; `source` names it in errors.

    Raises
    ------
    UserError : if it is not YAML, not a mapping, or names a key twice.
    """
    try:
        values = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML ({_told(error)})", expected="YAML", remedy="mend that line") from error
    except RecursionError as error:
        raise UserError(
            f"{source} nests without end",
            expected="sections of settings",
            remedy="start from `mova init --preset nano`",
        ) from error
    if not isinstance(values, dict):
        raise UserError(
            f"{source} holds {_kind(values)}",
            expected="a mapping of sections",
            remedy="start from `mova init --preset nano`",
        )
    return values


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} stands in line {lines[key.value]} already", problem_mark=key.start_mark
                )
            lines[str(key.value)] = line
        return super().construct_mapping(node, deep)


def _told(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return problem if mark is None else f"line {mark.line + 1}: {problem}"


def _kind(values: object) -> str:
    return "nothing" if values is None else "a list" if isinstance(values, list) else f"a {type(values).__name__}"
