"""Sentences are sorted into seen, said and heard; no word is added and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova_core.errors import UserError
from mova_core.inference.refinement import RuleRefiner
from mova_core.inference.refinement.record import lost_quotes, quotes_in


@pytest.mark.parametrize(
    ("prompt", "visual", "speech", "sound"),
    [
        ("a lamp flashes", "a lamp flashes", "", ""),
        (
            'Rain drums, we hear thunder. A woman at a window says "Stay. Please!" The street is empty.',
            "The street is empty.",
            'A woman at a window says "Stay. Please!"',
            "Rain drums, we hear thunder.",
        ),
        ('A sign reads "OPEN". Soft music plays.', 'A sign reads "OPEN".', "", "Soft music plays."),
        ("Sound: a bell. Visual: a lamp flashes. It hums in a dark room.", None, "", "a bell."),
        ("The sound of the sea.", "The sound of the sea.", "", ""),
        ("He whispers “hello there”", "He whispers “hello there”", "", ""),
        ("A quiet street at dawn, v1.5 of it. A dog.", "A quiet street at dawn, v1.5 of it. A dog.", "", ""),
        ("一个女人站着。她说", "一个女人站着。她说", "", ""),
    ],
)
def test_sentences_go_where_they_belong(prompt: str, visual: str | None, speech: str, sound: str) -> None:
    found = RuleRefiner().refine(prompt)
    assert (found.speech, found.sound) == (speech, sound)
    assert found.visual == (visual if visual is not None else "a lamp flashes. It hums in a dark room.")
    assert found.original == prompt
    assert not lost_quotes(prompt, found.prompt)


def test_the_prompt_has_the_order_of_the_training_captions() -> None:
    found = RuleRefiner().refine('we hear a bell. a man says "no". a red lamp')
    assert found.prompt == 'A red lamp. A man says "no". We hear a bell.'


def test_every_word_stays() -> None:
    prompt = 'Music plays. A cat sits; it purrs. The man asks, "Who is there?" Nobody moves.'
    assert sorted(RuleRefiner().refine(prompt).prompt.split()) == sorted(prompt.split())


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_nothing_to_refine_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match="the prompt is empty"):
        RuleRefiner().refine(prompt)


def test_a_picture_is_said_to_be_unread(tmp_path: Path) -> None:
    assert RuleRefiner().refine("a lamp", tmp_path / "x.png").notes == ("rules cannot see: the picture was not read",)


def test_quotes_of_many_scripts_are_found_and_apostrophes_are_none() -> None:
    assert quotes_in("It's \"a\" and “b” and «c» and „d“ and 「e」, isn't it") == ["a", "b", "c", "d", "e"]
    assert lost_quotes('says "Hello, you!"', "SHE SAYS hello,  you") == []
    assert lost_quotes('says "Hello"', "she greets") == ["Hello"]
