"""A prompts file: one JSON object a line, each a clip; every bad line is named before any work. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mova_core.config.mistakes import first_mistake
from mova_core.errors import UserError
from mova_core.inference.givens import check_request
from mova_core.inference.inputs import Settings
from mova_core.inference.request import ClipRequest
from mova_core.progress import say

ID_DIGITS = 4


@dataclass(frozen=True)
class Planned:
    """One line that can be made: its number in the file, its clip (with an id), and how it is made."""

    number: int
    request: ClipRequest
    settings: Settings
    num_windows: int

    @property
    def num_steps(self) -> int:
        return self.num_windows * self.settings.num_steps


def read_prompts(path: Path, common: Mapping[str, Any], defaults: Settings) -> list[Planned]:
    """The clips of a prompts file.

    Parameters
    ----------
    common : fields of `ClipRequest` for lines that do not state them.
    defaults : settings for what neither states.

    Raises
    ------
    UserError : if the file is absent, empty or no text; or if a line cannot work, after each such line was named.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} does not read ({error})",
            expected="a UTF-8 file with one JSON object a line",
            remedy="check the path",
        ) from error
    planned, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            planned.append(_planned(number, line, path, common, defaults))
        except UserError as error:
            problems.append(f"line {number} of {path.name}: {error}")
    problems += list(_repeated(planned, path.name))
    for problem in problems:
        say(problem)
    if problems:
        raise UserError(
            f"{len(problems)} of the lines in {path} cannot be made; the first is {problems[0]}",
            expected="lines that all can",
            remedy="mend them and run again: nothing was made",
        )
    if not planned:
        raise UserError(
            f"{path} holds no prompt", expected='lines like {"prompt": "a lamp flashes"}', remedy="write one"
        )
    return planned


def _planned(number: int, line: str, path: Path, common: Mapping[str, Any], defaults: Settings) -> Planned:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise UserError(f"not JSON ({error})", expected="one JSON object", remedy="mend that line") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{type(values).__name__}, not an object", expected='{"prompt": "..."}', remedy="mend that line"
        )
    length = {"frames", "seconds"}
    inherited = {name: value for name, value in common.items() if name not in length or not length & set(values)}
    try:
        request = ClipRequest.model_validate_json(json.dumps({**inherited, **values}))
    except ValidationError as error:
        raise first_mistake(ClipRequest, error, "that line") from error
    if not request.id:
        request = request.model_copy(update={"id": f"{number:0{ID_DIGITS}d}"})
    request = request.beside(path.parent)
    settings = request.settings(defaults)
    return Planned(number, request, settings, check_request(request, settings))


def _repeated(planned: list[Planned], name: str) -> Iterator[str]:
    """A sentence for each id that an earlier line has; on disks that ignore case, so do file names."""
    seen: dict[str, int] = {}
    for item in planned:
        first = seen.setdefault(item.request.id.casefold(), item.number)
        if first != item.number:
            yield f"line {item.number} of {name}: the id {item.request.id!r} is that of line {first}"
