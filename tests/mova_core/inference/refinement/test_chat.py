"""A model refines, over real HTTP: what is asked, what is checked, and what each failure tells the person."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from chat_server import ChatServer, Reply, chat_server

from mova_core.cli import main
from mova_core.errors import UserError
from mova_core.inference.refinement import ChatRefiner, RuleRefiner, choose_refiner

GOOD = {"visual": "A red lamp flashes in a dark room.", "speech": 'A man says "go".', "sound": None}
PROMPT = 'red lamp, someone says "Go!"'


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


def refiner(server: ChatServer, **options: Any) -> ChatRefiner:
    return ChatRefiner(server.url, "tiny", "secret", first_pause_seconds=0.01, **options)


def test_a_prompt_comes_back_in_parts_and_the_original_stays(server: ChatServer) -> None:
    server.replies = [Reply(GOOD)]
    found = refiner(server).refine(PROMPT)
    assert (found.original, found.refiner) == (PROMPT, "tiny")
    assert (found.visual, found.speech, found.sound) == (GOOD["visual"], GOOD["speech"], "")
    assert found.prompt == f"{GOOD['visual']} {GOOD['speech']}"
    (asked,) = server.requests
    assert (server.paths, server.keys) == (["/v1/chat/completions"], ["Bearer secret"])
    assert asked["model"] == "tiny"
    schema = asked["response_format"]["json_schema"]
    assert schema["strict"]
    assert schema["schema"]["required"] == ["visual", "speech", "sound"]
    assert schema["schema"]["additionalProperties"] is False
    assert asked["messages"][-1]["content"][0]["text"] == PROMPT


def test_a_first_frame_is_described_before_the_prompt_is_rewritten(server: ChatServer, tmp_path: Path) -> None:
    picture = tmp_path / "first.png"
    cv2.imwrite(str(picture), np.full((900, 1600, 3), (10, 20, 200), np.uint8))
    seen = {"style": "flat", "camera": "close", "elements": "all red", "text": "EXIT"}
    server.replies = [Reply(seen), Reply(GOOD)]
    found = refiner(server).refine(PROMPT, picture)
    assert found.notes == ("the picture was described first",)
    sent = server.requests[0]["messages"][-1]["content"][0]["image_url"]["url"]
    content = base64.b64decode(sent.removeprefix("data:image/jpeg;base64,"))
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (432, 768, 3)
    assert pixels.reshape(-1, 3).mean(axis=0) == pytest.approx([10, 20, 200], abs=3)
    asked = server.requests[1]["messages"][-1]["content"][0]["text"]
    assert asked.startswith(PROMPT)
    assert "EXIT" in asked


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("I cannot do that.", "Invalid JSON"),
        ({**GOOD, "visual": " "}, "visual: String should have at least 1 character"),
        ({"visual": "x"}, "speech: Field required"),
        ({**GOOD, "speech": 3}, "speech: Input should be a valid string"),
        ({**GOOD, "mood": "dark"}, "mood: Extra inputs are not permitted"),
        ({**GOOD, "speech": "A man speaks."}, 'the quoted words "Go!" of the prompt are missing'),
    ],
)
def test_an_answer_that_does_not_fit_is_sent_back_once(
    server: ChatServer, bad: str | dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies = [Reply(bad), Reply(GOOD)]
    assert refiner(server).refine(PROMPT).visual == GOOD["visual"]
    assert why in server.requests[1]["messages"][-1]["content"]
    assert why in capsys.readouterr().err
    server.replies = [Reply(bad)]
    with pytest.raises(UserError, match="answered twice with what does not fit"):
        refiner(server).refine(PROMPT)
    assert len(server.requests) == 4


@pytest.mark.parametrize("text", ["```json\n{}\n```", "<think>{maybe}</think>{}", "Here you are: {} Enjoy."])
def test_an_object_inside_other_words_is_found(server: ChatServer, text: str) -> None:
    server.replies = [Reply(text.replace("{}", json.dumps(GOOD)))]
    assert refiner(server).refine(PROMPT).visual == GOOD["visual"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: ChatServer, status: int) -> None:
    server.replies = [Reply(status=status), Reply(status=status), Reply(GOOD)]
    assert refiner(server).refine(PROMPT).visual == GOOD["visual"]
    assert len(server.requests) == 3


def test_pauses_grow_and_the_server_may_ask_for_longer_ones(server: ChatServer) -> None:
    from mova_core.inference.refinement.http import JsonClient, Refused

    pauses: list[float] = []
    server.replies = [Reply(status=503), Reply(status=503), Reply(status=429, headers={"Retry-After": "7"})]
    client = JsonClient(f"{server.url}/chat/completions", {}, 5.0, 4, 0.5, pauses.append)
    with pytest.raises(Refused, match="status 429"):
        client.post({})
    assert pauses == [0.5, 1.0, 7.0]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(status=401, raw='{"error": "bad key"}'), r"status 401 .*bad key.*set MOVA_REFINE_KEY to a key"),
        (Reply(status=404, raw="no such model"), r"status 404 .*mend the address .* or the model's name"),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), r"status 302"),
        (Reply(raw="<html>hello</html>"), r"answered with what is no JSON .*<html>"),
        (Reply(raw='{"choices": []}'), r"expected choices\[0\].message.content with text"),
        (Reply(raw='["odd"]'), r"expected choices\[0\].message.content with text"),
    ],
)
def test_what_a_person_can_mend_is_told_at_once_and_without_the_key(
    server: ChatServer, reply: Reply, message: str
) -> None:
    server.replies = [reply]
    with pytest.raises(UserError, match=message) as caught:
        refiner(server).refine(PROMPT)
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


def test_a_server_without_schemas_is_told_the_schema_in_words(
    server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies = [Reply(status=400, raw='{"error": "unknown field response_format"}'), Reply(GOOD)]
    assert refiner(server).refine(PROMPT).visual == GOOD["visual"]
    assert "response_format" not in server.requests[1]
    assert '"required": ["visual", "speech", "sound"]' in server.requests[1]["messages"][0]["content"]
    assert "takes no schema" in capsys.readouterr().err


def test_a_server_that_hangs_or_is_not_there_is_named(server: ChatServer) -> None:
    server.replies = [Reply(GOOD, seconds=30)]
    with pytest.raises(UserError, match=r"no answer from http.* in 2 attempts \(timed out\)"):
        refiner(server, timeout_seconds=0.1, num_attempts=2).refine(PROMPT)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=r"no answer from .*/v1/chat/completions in 4 attempts .*refused"):
        ChatRefiner(url, "tiny", first_pause_seconds=0.01).refine(PROMPT)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://me:word@host/v1", "http:///v1"])
def test_an_address_that_cannot_be_asked_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(UserError, match="the server's address is") as caught:
        ChatRefiner(url, "tiny")
    assert "word" not in str(caught.value)


def test_the_environment_chooses_and_options_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"MOVA_REFINE_{name}", raising=False)
    assert isinstance(choose_refiner(), RuleRefiner)
    with pytest.raises(UserError, match=r"no model was named .* set MOVA_REFINE_MODEL"):
        choose_refiner("http://127.0.0.1:1/v1")
    monkeypatch.setenv("MOVA_REFINE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("MOVA_REFINE_MODEL", "one")
    assert choose_refiner().name == "one"
    assert choose_refiner(model="two").name == "two"
    assert isinstance(choose_refiner(url=""), RuleRefiner)


def test_the_command_prints_the_record(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MOVA_REFINE_KEY", "secret")
    server.replies = [Reply(GOOD)]
    assert main(["refine", "--prompt", PROMPT, "--url", server.url, "--model", "tiny"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["original"] == PROMPT
    assert printed["speech"] == GOOD["speech"]
    assert printed["prompt"].endswith('"go".')
    assert server.keys == ["Bearer secret"]
    for options, message in (
        (["--prompt", " "], "the prompt is empty"),
        (["--prompt", PROMPT, "--image", str(tmp_path / "no.png")], "no picture at"),
    ):
        assert main(["refine", *options, "--url", server.url, "--model", "tiny"]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert len(server.requests) == 1
