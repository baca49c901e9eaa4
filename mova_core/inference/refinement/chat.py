"""The refiner that asks a model behind an OpenAI-compatible server (hosted, vLLM, llama.cpp, Ollama, …).

With a first frame it asks twice, as the report does: what the picture shows, then the prompt rewritten with that in
hand. Answers are structured (JSON Schema) and checked here as well, since not every server enforces the schema; an
answer that fails is sent back once, with what is wrong with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mova_core.errors import UserError
from mova_core.inference.inputs import read_picture
from mova_core.inference.refinement.http import JsonClient, Refused
from mova_core.inference.refinement.record import Refinement, checked_prompt, lost_quotes
from mova_core.progress import say

PICTURE_PIXELS = 768
JPEG_QUALITY = 90
SHOWN_CHARACTERS = 160
KEY_VARIABLE = "MOVA_REFINE_KEY"
MODEL_VARIABLE = "MOVA_REFINE_MODEL"

SYSTEM = (
    "You write prompts for a model that generates a short video clip together with its sound. Rewrite the person's "
    "prompt into three parts. visual: one paragraph on subject, action, setting, light, style and camera. speech: who "
    "speaks, with which voice, and the exact words in double quotes; null if nobody speaks. sound: other sound and "
    "music and when they happen; null if there is none. Keep everything that the person asks for, keep quoted "
    "words exactly, keep the person's language, and add only detail that fits what is asked for."
)
PICTURE_SYSTEM = (
    "Describe the picture, the first frame of a video. style: medium and look. camera: shot size, angle and lens. "
    "elements: what is there and where. text: every word that can be read in it, exactly; null if there is none."
)


class Parts(BaseModel):
    """A refined prompt as the model has to return it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    visual: str = Field(min_length=1, max_length=4000, description="what is seen")
    speech: str | None = Field(max_length=2000, description="who speaks, and the words in double quotes; null if none")
    sound: str | None = Field(max_length=2000, description="other sound and music; null if none")


class Picture(BaseModel):
    """What a first frame shows, as the model has to return it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    style: str = Field(min_length=1, max_length=2000)
    camera: str = Field(min_length=1, max_length=2000)
    elements: str = Field(min_length=1, max_length=4000)
    text: str | None = Field(max_length=2000)


Shape = TypeVar("Shape", bound=BaseModel)
Message = dict[str, Any]


class ChatRefiner:
    """Asks `model` at `url` (the address up to /v1).

    Parameters
    ----------
    key : sent as a bearer token; empty for servers that want none. It appears in no message.
    timeout_seconds, num_attempts, first_pause_seconds : see `JsonClient`.

    Raises
    ------
    UserError : for an address or a model's name that cannot be.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str = "",
        *,
        timeout_seconds: float = 120.0,
        num_attempts: int = 4,
        first_pause_seconds: float = 0.5,
    ) -> None:
        if not model:
            raise UserError(
                "no model was named for the refinement server",
                expected="the name that the server knows it by",
                remedy=f"set {MODEL_VARIABLE}, or give --model",
            )
        self.model = model
        self._structured = True
        self._client = JsonClient(
            f"{url.rstrip('/')}/chat/completions",
            {"Authorization": f"Bearer {key}"} if key else {},
            timeout_seconds,
            num_attempts,
            first_pause_seconds,
        )

    @property
    def name(self) -> str:
        return self.model

    def refine(self, prompt: str, image: Path | None = None) -> Refinement:
        """See `Refiner.refine`."""
        checked_prompt(prompt)
        asked = prompt
        if image is not None:
            picture = self._ask(PICTURE_SYSTEM, [_picture_part(image)], Picture)
            seen = {name: value for name, value in picture.model_dump().items() if value}
            asked += f"\n\nThe clip begins with this picture, which the prompt has to fit:\n{json.dumps(seen)}"
        parts = self._ask(SYSTEM, [{"type": "text", "text": asked}], Parts, lambda found: _check_quotes(prompt, found))
        return Refinement(
            original=prompt,
            visual=parts.visual,
            speech=parts.speech or "",
            sound=parts.sound or "",
            refiner=self.name,
            notes=("the picture was described first",) if image is not None else (),
        )

    def _ask(
        self, system: str, content: list[Message], shape: type[Shape], check: Callable[[Shape], None] | None = None
    ) -> Shape:
        """An answer of `shape` that passes `check` (which raises ValueError), after at most one repair."""
        schema = shape.model_json_schema()
        messages: list[Message] = [
            {"role": "system", "content": f"{system} Answer with one JSON object of this schema: {json.dumps(schema)}"},
            {"role": "user", "content": content},
        ]
        text = self._complete(messages, shape.__name__.lower(), schema)
        try:
            return _parsed(text, shape, check)
        except ValueError as error:
            say(f"{self.model} gave an answer that does not fit ({_what(error)}); asking once more")
            messages += [
                {"role": "assistant", "content": text},
                {
                    "role": "user",
                    "content": f"That does not fit: {_what(error)}. Answer with the mended JSON object only.",
                },
            ]
        text = self._complete(messages, shape.__name__.lower(), schema)
        try:
            return _parsed(text, shape, check)
        except ValueError as error:
            raise UserError(
                f"{self.model} answered twice with what does not fit ({_what(error)}): {text[:SHOWN_CHARACTERS]!r}",
                expected=f"a JSON object with {', '.join(shape.model_fields)}",
                remedy="use a more capable model, or leave the server out to have the prompt sorted by rules",
            ) from error

    def _complete(self, messages: list[Message], name: str, schema: dict[str, Any]) -> str:
        """The text that the model answers with."""
        values: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0.0}
        if self._structured:
            json_schema = {"name": name, "strict": True, "schema": schema}
            values["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        try:
            return _text_of(self._client.post(values), self._client.url)
        except Refused as refused:
            if self._structured and refused.status in (400, 422) and "response_format" in refused.detail:
                say(f"{self._client.url} takes no schema; the answer is checked here alone")
                self._structured = False
                return self._complete(messages, name, schema)
            raise self._told(refused) from refused

    def _told(self, refused: Refused) -> UserError:
        remedies = {
            401: f"set {KEY_VARIABLE} to a key that it accepts",
            403: f"set {KEY_VARIABLE} to a key that may use this model",
            404: f"mend the address (up to /v1) or the model's name (--model or {MODEL_VARIABLE})",
            429: "wait, or ask another server",
        }
        return UserError(
            f"{self._client.url} refused the request with status {refused.status} ({refused.detail})",
            expected=f"an answer of {self.model}",
            remedy=remedies.get(refused.status, "see the server's log"),
        )


def _text_of(answer: Any, url: str) -> str:
    """The first choice's text in an answer of the chat completions interface."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise UserError(
            f"{url} answered with {json.dumps(answer)[:SHOWN_CHARACTERS]}",
            expected="choices[0].message.content with text",
            remedy="give the address of an OpenAI-compatible server, up to /v1",
        )
    return text


def _parsed(text: str, shape: type[Shape], check: Callable[[Shape], None] | None) -> Shape:
    """The object in `text`: all of it, or what stands between the outermost braces (models add fences, thoughts)."""
    body = text.rpartition("</think>")[2].strip()
    if not body.startswith("{"):
        body = body[body.find("{") : body.rfind("}") + 1]
    found = shape.model_validate_json(body)
    if check is not None:
        check(found)
    return found


def _check_quotes(prompt: str, parts: Parts) -> None:
    lost = lost_quotes(prompt, " ".join(filter(None, (parts.visual, parts.speech, parts.sound))))
    if lost:
        raise ValueError(f"the quoted words {json.dumps(lost[0], ensure_ascii=False)} of the prompt are missing")


def _what(error: ValueError) -> str:
    """What is wrong, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"


def _picture_part(image: Path) -> Message:
    """The picture, no larger than a vision model reads anyway, inside the message: no server has to fetch it."""
    import cv2

    picture = read_picture(image)
    scale = min(1.0, PICTURE_PIXELS / max(picture.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0]))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    encoded, content = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not encoded:
        raise RuntimeError(f"the picture of {size} pixels did not encode as JPEG")
    url = f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
