"""The refiner that needs no model: sorts the sentences of a prompt into seen, said and heard, and invents nothing."""

from __future__ import annotations

import re
from pathlib import Path

from mova_core.inference.refinement.record import QUOTED, Refinement, checked_prompt

LABELS = {
    "visual": ("visual", "visuals", "video", "picture", "scene"),
    "speech": ("speech", "dialogue", "dialog", "voice"),
    "sound": ("sound", "sounds", "audio", "music", "sfx"),
}
"""Words that, before a colon, say which part follows."""
LABELLED = re.compile(
    rf"(?<!\w)({'|'.join(word for words in LABELS.values() for word in words)})\s*:\s*", re.IGNORECASE
)
SAID = re.compile(
    r"\b(sa(y|ys|id|ying)|speak(s|ing)?|spoke|tell(s|ing)?|told|ask(s|ed|ing)?|repl(y|ies|ied|ying)|answer(s|ed|ing)?"
    r"|shout(s|ed|ing)?|whisper(s|ed|ing)?|murmur(s|ed|ing)?|sing(s|ing)?|sang|announce(s|d)?|narrat(es?|ed|or|ion)"
    r"|call(s|ed|ing)? out|exclaim(s|ed)?|yell(s|ed|ing)?|cr(y|ies|ied) out|voice-?over)\b",
    re.IGNORECASE,
)
HEARD = re.compile(
    r"\b(sounds?|noises?|audio|music|soundtrack|melody|hear(s|ing)?|heard|audible|silence|ambience|hum(s|ming)?)\b",
    re.IGNORECASE,
)
ENDS = ".!?"
CLOSING = '"”»」』)'


class RuleRefiner:
    """Sorts sentences: quoted words that somebody says are speech, sentences about hearing are sound, the rest is seen.

    Parts that the prompt labels itself ("Visual: … Sound: …") are taken at their word. Where all sentences would be
    speech or sound, the first stays in the picture: every clip shows something.
    """

    name = "rules"

    def refine(self, prompt: str, image: Path | None = None) -> Refinement:
        """See `Refiner.refine`. The picture is left unread, and a note says so."""
        parts: dict[str, list[str]] = {name: [] for name in LABELS}
        for label, text in _labelled(checked_prompt(prompt)):
            for sentence in sentences(text):
                parts[label or part_of(sentence)].append(sentence)
        if not parts["visual"]:
            heard = "sound" if parts["sound"] else "speech"
            parts["visual"].append(parts[heard].pop(0))
        return Refinement(
            original=prompt,
            **{name: " ".join(found) for name, found in parts.items()},
            refiner=self.name,
            notes=("rules cannot see: the picture was not read",) if image is not None else (),
        )


def part_of(sentence: str) -> str:
    """Which part a sentence belongs to: "speech", "sound" or "visual"."""
    if QUOTED.search(sentence) and SAID.search(QUOTED.sub("", sentence)):
        return "speech"
    return "sound" if HEARD.search(QUOTED.sub("", sentence)) else "visual"


def sentences(text: str) -> list[str]:
    """The sentences of `text`, without cutting inside quotation marks; spaces are single."""
    text = " ".join(text.split())
    inside = [match.span() for match in QUOTED.finditer(text)]
    found, start = [], 0
    for index, letter in enumerate(text):
        quote = next(((low, high) for low, high in inside if low <= index < high), None)
        if quote is not None:
            # A quotation that ends its sentence carries the full stop inside: '… says "Stop!" Then …'.
            ends = index == quote[1] - 1 and text[index - 1] in ENDS and text[index + 1 : index + 3].strip().istitle()
        else:
            after = text[index + 1 : index + 2]
            ends = letter in ENDS and (after in ("", " ") or after in CLOSING)
        if ends:
            found.append(text[start : index + 1].strip())
            start = index + 1
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence.strip(ENDS + CLOSING + " ")]


def _labelled(prompt: str) -> list[tuple[str, str]]:
    """Stretches of the prompt with the part that a label before them names, "" where there is none."""
    names = {word: part for part, words in LABELS.items() for word in words}
    pieces = LABELLED.split(prompt)
    return [("", pieces[0])] + [
        (names[label.lower()], text) for label, text in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
