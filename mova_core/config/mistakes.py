"""What is wrong with a configuration, as one line: where, what was expected, and the nearest name where a name is."""

from __future__ import annotations

import difflib
import re
import reprlib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mova_core.errors import UserError

Location = tuple[int | str, ...]

KEY = "[key]"
"""What pydantic puts last in the location of a mapping's key."""


def first_mistake(model: type[BaseModel], error: ValidationError, source: str) -> UserError:
    """The mistake to mend first: an unknown key, since that explains a missing one beside it.

    Parameters
    ----------
    model : what the values were to be.
    source : names the file.
    """
    mistakes = error.errors()
    unknown = [mistake for mistake in mistakes if _is_of_a_name(mistake)]
    mistake = (unknown or mistakes)[0]
    path = tuple(part for part in mistake["loc"] if part != KEY)
    where = ".".join(map(str, path)) or "the file"
    if _is_of_a_name(mistake):
        valid = _quoted(mistake) or _keys(model, path[:-1])
        return UserError(
            f"unknown key {where} in {source}",
            expected=f"one of {', '.join(valid)}" if valid else _expected(mistake),
            remedy=nearest("write", str(path[-1]), valid) if valid else "mend that key",
        )
    if mistake["type"] == "missing":
        return UserError(
            f"missing key {where} in {source}",
            expected="a value",
            remedy="add it (`mova init --preset nano --print` shows a complete file)",
        )
    if mistake["type"] == "value_error":  # of our own: "this is so, expected that"
        found, _, expected = str(mistake["ctx"]["error"]).partition("expected ")
        said = found.rstrip(" ,;") or "does not fit"
        return UserError(f"{where} in {source}: {said}", expected=expected or "another value", remedy="mend that line")
    value = mistake.get("input")
    found = f"{where} is {reprlib.repr(value)} in {source}"
    valid = _quoted(mistake)
    close = nearest("write", str(value), valid) if valid else ""
    return UserError(found, expected=_expected(mistake), remedy=close if "'" in close else "mend that line")


def nearest(verb: str, name: str, valid: Sequence[str]) -> str:
    """The remedy for a wrong name: the valid one most like it."""
    close = difflib.get_close_matches(name, valid, n=1)
    return f"{verb} {close[0]!r}" if close else "remove it" if verb == "write" else "choose one of those"


def _is_of_a_name(mistake: ErrorDetails) -> bool:
    return mistake["type"] in ("extra_forbidden", "invalid_key") or mistake["loc"][-1:] == (KEY,)


def _quoted(mistake: ErrorDetails) -> list[str]:
    """The choices of a value that is one of several words."""
    return re.findall(r"'([^']*)'", str(mistake["ctx"]["expected"])) if mistake["type"] == "literal_error" else []


def _expected(mistake: ErrorDetails) -> str:
    text = mistake["msg"].removeprefix("Input should be ")
    return re.sub(r"a valid dictionary.*", "a section of keys", text).replace("a valid tuple", "a list")


def _keys(model: type[BaseModel], path: Location) -> list[str]:
    """The names that the section at `path` may hold; numbers and names of mappings are passed over on the way."""
    section: type[BaseModel] | None = model
    for part in path:
        if section is not None and part in section.model_fields:
            section = _section_in(section.model_fields[str(part)].annotation)
    return [] if section is None else list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part)) is not None), None)
