"""The configuration: complete, closed, frozen, and plain about mistakes."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml

from mova_core.config import dump_config, load_config, parse_config, preset_names, preset_text, save_config
from mova_core.errors import UserError

NANO = preset_text("nano")


def changed(**sections: object) -> str:
    """The nano preset as text, with keys of the top level or (as dicts) of a section replaced."""
    values = yaml.safe_load(NANO)
    for name, value in sections.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) and name in values else value
    return str(yaml.safe_dump(values))


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(UserError, match=r"unknown key media\.widht in here; expected .*width.*; write 'width'"):
        parse_config(changed(media={"widht": 64}), source="here")


def test_an_unknown_section_is_refused_too() -> None:
    with pytest.raises(UserError, match="unknown key trian in here"):
        parse_config(changed(trian=3), source="here")


def test_a_missing_key_says_where_a_complete_file_is() -> None:
    values = yaml.safe_load(NANO)
    del values["media"]["fps"]
    with pytest.raises(UserError, match=r"missing key media\.fps in here.*mova init --preset nano --print"):
        parse_config(yaml.safe_dump(values), source="here")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"collections": []}, "collections is"),
        ({"collections": ["../evil"]}, r"\.\./evil"),
        ({"media": {"num_frames": 32}}, r"4k\+1"),
        ({"media": {"width": 60}}, "multiple of 16"),
        ({"media": {"fps": "fast"}}, "media.fps is 'fast'"),
        ({"media": {"fps": float("inf")}}, r"media\.fps is inf in here; expected a finite number"),
        ({"collections": ["demo", "demo"]}, "'demo' is listed twice"),
        ({"sample": {"solver": "heun"}}, "sample.solver is 'heun' in here; expected 'euler' or 'multistep'"),
        ({"corpus": 3}, "corpus is 3 in here; expected a section of keys"),
    ],
)
def test_a_wrong_value_is_quoted_with_what_was_expected(sections: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_config(changed(**sections), source="here")


@pytest.mark.parametrize("text", ["", "- a list", "a: [unclosed", "\tseed: 1", "[" * 3000, "a: \0"])
def test_what_is_not_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_config(text, source="here")


def test_a_misspelt_key_is_named_even_where_the_right_one_is_missing_for_it() -> None:
    text = NANO.replace("val_fraction:", "val_fracton:")
    with pytest.raises(UserError, match=r"unknown key curate\.val_fracton in here;.*write 'val_fraction'"):
        parse_config(text, source="here")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reason: silent, score:", "reason: silent, scor:", r"curate\.gates\.0\.scor .*write 'score'"),
        ("joint3: *quality", "joint4: *quality", r"unknown key curate\.phase_gates\.joint4 .*write 'joint3'"),
        ("score: silence_ratio", "score: silenc_ratio", r"write 'silence_ratio'"),
        ("minilm: {max_tokens", "minilm: {max_token", r"encode\.text\.minilm\.max_token .*write 'max_tokens'"),
        (
            "frame_rates: {24:",
            "frame_rates: {5:",
            r"corpus\.frame_rates\.5 in here; expected greater than or equal to 10",
        ),
    ],
)
def test_names_deep_in_lists_and_mappings_have_their_nearest_too(old: str, new: str, message: str) -> None:
    assert old in NANO
    with pytest.raises(UserError, match=message):
        parse_config(NANO.replace(old, new), source="here")


@pytest.mark.parametrize(
    ("old", "new"),
    [("seed: 20260\n", "seed: 20260\nseed: 3\n"), ("      steps: 230\n", "      steps: 230\n      steps: 3\n")],
)
def test_a_key_that_stands_twice_is_refused(old: str, new: str) -> None:
    with pytest.raises(UserError, match=r"line \d+: '(seed|steps)' stands in line \d+ already"):
        parse_config(NANO.replace(old, new, 1), source="here")


def test_bytes_that_are_no_text_are_told_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"# fine\npreset: n\xe9no\n")
    with pytest.raises(UserError, match=r"params\.yaml is not UTF-8 text \(line 2\)"):
        load_config(tmp_path / "params.yaml")


def test_a_mistake_is_one_short_line() -> None:
    text = NANO.replace("steps: 230", "steps: 3")
    with pytest.raises(UserError) as caught:
        parse_config(text, source="here")
    assert str(caught.value) == (
        "train.phases.audio in here: warmup_steps + decay_steps is 70; expected at most steps (3); mend that line"
    )


def test_an_absent_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mova init --preset nano"):
        load_config(tmp_path / "params.yaml")


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"nano.*use 'nano'"):
        preset_text("nanu")


def test_a_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = parse_config(NANO, source="nano")
    save_config(config, tmp_path / "params.yaml")
    assert load_config(tmp_path / "params.yaml") == config
    assert dump_config(load_config(tmp_path / "params.yaml")) == dump_config(config)


def test_values_do_not_change_after_loading() -> None:
    config = parse_config(NANO, source="nano")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.media.width = 128  # type: ignore[misc]  # that it fails is the point


def test_a_clip_of_the_nano_preset_has_one_length_in_picture_and_sound() -> None:
    media = parse_config(NANO, source="nano").media
    assert media.clip_seconds == pytest.approx(1.375)
    assert media.num_audio_samples == 66_000


def test_every_preset_is_listed() -> None:
    assert "nano" in preset_names()
