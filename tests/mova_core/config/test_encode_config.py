"""What the `encode` section takes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mova_core.config import parse_config, preset_text
from mova_core.errors import UserError


def nano(**encode: Any) -> str:
    values = yaml.safe_load(preset_text("nano"))
    values["encode"].update(encode)
    return yaml.safe_dump(values)


AUDIO_FIT = {"latent_channels": 48, "hop_samples": 960, "overlap_samples": 960, "compand_power": 0.5}


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        ({"video": {}}, "expected exactly one of `fit`"),
        ({"video": {"fit": {"latent_channels": 16}, "folder": "vae"}}, "expected exactly one of `fit`"),
        ({"text": {"folder": "release", "minilm": {"max_tokens": 24}}}, "expected exactly one of `minilm`"),
        ({"audio": {"fit": {**AUDIO_FIT, "overlap_samples": 1000}}}, "expected at most hop_samples, 960"),
        ({"audio": {"fit": {**AUDIO_FIT, "latent_channels": 961}}}, "expected at most 960"),
        ({"resolutions": [[30, 32]]}, "multiple of 16"),
        ({"resolutions": []}, "resolutions"),
        ({"loudness_lufs": 3.0}, "loudness_lufs"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(encode: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_config(nano(**encode), source="params.yaml")


def test_codecs_of_a_release_are_named_by_folder() -> None:
    encode = {"video": {"folder": "r/video_vae"}, "audio": {"fit": AUDIO_FIT}, "text": {"folder": "r"}}
    config = parse_config(nano(**encode), source="params.yaml")
    assert (config.encode.video.folder, config.encode.text.folder) == ("r/video_vae", "r")
