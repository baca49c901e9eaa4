"""What a refined prompt is, and what every refiner's answer is held to."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from mova_core.curation.caption import merged
from mova_core.curation.captioners import CaptionParts
from mova_core.errors import UserError

# Straight, curly, low-high and angle quotes, and those of Chinese and Japanese. Single ones are apostrophes too often.
QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」|『([^』]+)』')


@dataclass(frozen=True)
class Refinement:
    """A prompt in three parts; a part of which there is nothing is empty.

    Attributes
    ----------
    original : the person's own words, untouched.
    visual : what is seen: subject, setting, light, style, camera. Never empty.
    speech : who speaks and how, with the words in double quotes.
    sound : other sound and music.
    refiner : what made it: "rules", or a model's name.
    notes : what a reader should know of how it was made.
    """

    original: str
    visual: str
    speech: str
    sound: str
    refiner: str
    notes: tuple[str, ...] = field(default=())

    @property
    def prompt(self) -> str:
        """The parts as one prompt, put together as `mova caption` puts training captions together."""
        return merged(CaptionParts(self.visual, self.speech, self.sound, ""))

    def to_json(self) -> str:
        """The record with its prompt, indented."""
        values = asdict(self)
        notes = values.pop("notes")
        return json.dumps({**values, "prompt": self.prompt, "notes": notes}, indent=2, ensure_ascii=False)


class Refiner(Protocol):
    """Puts a prompt into the form of the training captions."""

    @property
    def name(self) -> str: ...

    def refine(self, prompt: str, image: Path | None = None) -> Refinement:
        """The parts of `prompt`; `image` is the first frame of the clip, where there is one.

        Raises
        ------
        UserError : if the prompt is empty, the picture does not read, or what was asked gives no usable answer.
        """
        ...


def checked_prompt(prompt: str) -> str:
    """The prompt itself.

    Raises
    ------
    UserError : if nothing is in it.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty", expected="words", remedy="describe what is seen and heard")
    return prompt


def quotes_in(text: str) -> list[str]:
    """What stands between quotation marks in `text`, without the marks: words to be said or shown as they are."""
    return [next(part for part in match.groups() if part).strip() for match in QUOTED.finditer(text)]


def lost_quotes(original: str, parts: str) -> list[str]:
    """Quoted words of `original` that `parts` lacks; case, spaces and closing punctuation aside."""
    kept = _bare(parts)
    return [quote for quote in quotes_in(original) if _bare(quote) not in kept]


def _bare(text: str) -> str:
    return " ".join(text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()).strip(" .,!?;:")
