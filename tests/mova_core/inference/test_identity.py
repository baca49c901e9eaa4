"""A model is recognised by its weights in a moment, however they are split into files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mova_core.errors import UserError
from mova_core.inference.identity import PROBE_BYTES, identify

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def change(path: Path, name: str, place: int) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[place] += 1
    save_file(tensors, path)


def test_copies_are_the_same_model_and_carry_their_own_names(checkpoint: Path, model: Path) -> None:
    one, other = identify(checkpoint), identify(model)
    assert (one.model_hash, one.config_hash) == (other.model_hash, other.config_hash)
    assert other.name == "model"
    assert len(one.model_hash) == 16


@pytest.mark.parametrize("component", ["video_dit", "video_dit_2", "audio_dit", "dual_tower_bridge", "video_vae"])
def test_other_weights_in_any_part_are_another_model(checkpoint: Path, model: Path, component: str) -> None:
    path = next((model / component).glob("*.safetensors"))
    change(path, sorted(load_file(path))[-1], 0)
    found = identify(model)
    assert found.model_hash != identify(checkpoint).model_hash
    assert found.config_hash == identify(checkpoint).config_hash


def test_another_configuration_is_told_apart_from_other_weights(checkpoint: Path, model: Path) -> None:
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("}", ' , "x": 1}'))
    (model / "generation_config.json").write_text("{}")
    found = identify(model)
    assert found.config_hash != identify(checkpoint).config_hash
    assert found.model_hash == identify(checkpoint).model_hash


def test_how_tensors_are_split_into_files_does_not_matter(checkpoint: Path, model: Path) -> None:
    path = model / "video_dit" / WEIGHTS
    tensors = load_file(path)
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[::2]}, path.with_name("a-00001-of-00002.safetensors"))
    save_file({name: tensors[name] for name in names[1::2]}, path.with_name("a-00002-of-00002.safetensors"))
    path.unlink()
    assert identify(model).model_hash == identify(checkpoint).model_hash


def test_codecs_that_lie_elsewhere_count_as_well(model: Path, tmp_path: Path) -> None:
    whole = identify(model)
    codecs = tmp_path / "codecs"
    codecs.mkdir()
    for name in ("video_vae", "audio_vae", "text_encoder", "tokenizer"):
        shutil.move(model / name, codecs / name)
    alone, together = identify(model), identify(model, codecs)
    assert len({whole.model_hash, alone.model_hash}) == 2
    path = next((codecs / "audio_vae").glob("*.safetensors"))
    change(path, min(load_file(path)), 0)
    assert identify(model, codecs).model_hash != together.model_hash


@pytest.mark.parametrize("place", [0, 5000, 9999])
def test_a_large_tensor_is_looked_at_in_three_places(tmp_path: Path, place: int) -> None:
    path = tmp_path / "video_dit" / "w.safetensors"
    path.parent.mkdir()
    save_file({"w": torch.zeros(10_000)}, path)
    assert 3 * PROBE_BYTES < 10_000 * 4
    before = identify(tmp_path)
    change(path, "w", place)
    assert identify(tmp_path).model_hash != before.model_hash


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-5], lambda _: b"\x01", lambda content: b"\xff" * 8 + content]
)
def test_a_file_that_is_cut_or_garbled_is_named(model: Path, damage: object) -> None:
    path = model / "video_dit" / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"video_dit.*does not read .*fetch the file again"):
        identify(model)
