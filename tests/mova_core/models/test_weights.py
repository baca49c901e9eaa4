"""Models on disk: nothing lost, nothing unnamed, nothing half written passed off as whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mova_core.data.weights import WEIGHTS_FILE as WEIGHTS
from mova_core.errors import UserError
from mova_core.models.dual_tower import DualTower
from mova_core.models.layout import INDEX
from mova_core.models.weights import load_model, save_model


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_experts": 1, "boundary_ratio": 0.0},
        {"bridge_pooled_adaln": True, "bridge_trainable_condition_scale": True, "video_spatial_rope_scale": 0.5},
    ],
    ids=["two experts", "one expert", "every option"],
)
def test_what_is_saved_comes_back_bit_for_bit(
    make_model: Callable[..., DualTower], tmp_path: Path, changes: dict[str, object]
) -> None:
    model = make_model(**changes)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    saved = model.state_dict()
    assert list(loaded.state_dict()) == list(saved)
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())


def test_equal_weights_give_equal_bytes(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "a")
    save_model(make_model(), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert set(files(tmp_path / "a")) == {INDEX} | {
        f"{component}/{name}"
        for component in ("video_dit", "video_dit_2", "audio_dit", "dual_tower_bridge")
        for name in ("config.json", WEIGHTS)
    }


def test_an_average_is_saved_in_the_models_place(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    model = make_model()
    save_model(model, tmp_path, state={name: value / 2 for name, value in model.state_dict().items()})
    name = "audio_dit.blocks.0.ffn.0.weight"
    assert torch.equal(load_model(tmp_path).state_dict()[name], model.state_dict()[name] / 2)
    with pytest.raises(ValueError, match=r"1 missing: audio_dit\.head\.head\.bias"):
        save_model(
            model, tmp_path, state={n: v for n, v in model.state_dict().items() if n != "audio_dit.head.head.bias"}
        )


def test_further_entries_join_the_index(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path, index_entries={"video_vae": ["diffusers", "AutoencoderKLWan"]})
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["video_vae"] == ["diffusers", "AutoencoderKLWan"]
    assert index["audio_dit"] == ["mova.diffusion.models.wan_audio_dit", "WanAudioModel"]


def test_weights_split_over_files_are_read_by_their_index(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    model = make_model()
    save_model(model, tmp_path)
    folder = tmp_path / "audio_dit"
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for part, chosen in parts.items():
        save_file({name: weights[name] for name in chosen}, folder / part)
    weight_map = {name: part for part, chosen in parts.items() for name in chosen}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = load_model(tmp_path).audio_dit.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.audio_dit.state_dict().items())
    save_model(model, tmp_path, state={name: value + 1 for name, value in model.state_dict().items()})
    name = "head.head.bias"
    assert torch.equal(load_model(tmp_path).audio_dit.state_dict()[name], loaded[name] + 1)


def test_weights_that_do_not_fit_are_listed_by_name(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    path = tmp_path / "dual_tower_bridge" / WEIGHTS
    weights = load_file(path)
    del weights["audio_to_video_conditioners.0.y_norm.bias"]
    weights["video_to_audio_conditioners.1.inner.q.bias"] = torch.zeros(7)
    weights["surplus"] = torch.zeros(1)
    save_file(weights, path)
    with pytest.raises(UserError) as caught:
        load_model(tmp_path)
    message = str(caught.value)
    assert "1 unknown: surplus" in message
    assert "1 missing: audio_to_video_conditioners.0.y_norm.bias" in message
    assert "video_to_audio_conditioners.1.inner.q.bias (7,) instead of (12,)" in message
    assert str(tmp_path / "dual_tower_bridge") in message


def test_a_save_cut_short_leaves_no_mixture(
    make_model: Callable[..., DualTower], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    save_model(model, tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)

    def cut_short(weights: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        if "audio_dit" in str(path):
            raise KeyboardInterrupt
        save_file(weights, path, metadata)

    monkeypatch.setattr("mova_core.models.weights.save_file", cut_short)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, tmp_path)
    with pytest.raises(UserError, match="no checkpoint"):
        load_model(tmp_path)


def test_a_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint: .*mova train"):
        load_model(tmp_path / "nowhere")


def test_missing_weights_and_a_torn_file_are_named(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    path = tmp_path / "video_dit_2" / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"video_dit_2.*not readable as safetensors"):
        load_model(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"no weights at .*video_dit_2"):
        load_model(tmp_path)


def test_branches_that_are_not_built_are_refused(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    path = tmp_path / "video_dit" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"has_image_input": True}))
    with pytest.raises(UserError, match="has_image_input is True"):
        load_model(tmp_path)


def test_incomplete_configurations_are_named(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    path = tmp_path / "audio_dit" / "config.json"
    entries = json.loads(path.read_text())
    del entries["ffn_dim"]
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match="lacks ffn_dim"):
        load_model(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"audio_dit.config\.json is not JSON"):
        load_model(tmp_path)


def test_a_silent_configuration_means_what_the_releases_classes_take(
    make_model: Callable[..., DualTower], tmp_path: Path
) -> None:
    changes = {"bridge_apply_cross_rope": False, "bridge_interaction_strategy": "shallow_focus"}
    model = make_model(audio_vae_type="oobleck", audio_num_layers=3, bridge_audio_layers=3, **changes)
    save_model(model, tmp_path)
    optional = ("vae_type", "apply_cross_rope", "interaction_strategy", "pooled_adaln", "eps", "seperated_timestep")
    for name in ("video_dit", "audio_dit", "dual_tower_bridge"):
        path = tmp_path / name / "config.json"
        entries = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in entries.items() if key not in optional} | {"new": 1}))
    assert load_model(tmp_path).config == model.config


def test_only_keys_of_the_release_are_written_by_default(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    assert "spatial_rope_scale" not in json.loads((tmp_path / "video_dit" / "config.json").read_text())


def test_a_forced_backend_that_cannot_run_is_refused_at_once(
    make_model: Callable[..., DualTower], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # tests of `kernels` in the same process ask for it
    save_model(make_model(), tmp_path)
    with pytest.raises(UserError, match="a backend that can run here"):
        load_model(tmp_path, kernels="triton")


def test_dtype_can_be_chosen(make_model: Callable[..., DualTower], tmp_path: Path) -> None:
    save_model(make_model(), tmp_path)
    assert {p.dtype for p in load_model(tmp_path, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("file", "changes", "found"),
    [
        ("audio_dit/config.json", {"vae_type": "encodec"}, "vae_type 'encodec'"),
        ("dual_tower_bridge/config.json", {"interaction_strategy": "sparse"}, "interaction_strategy 'sparse'"),
        ("dual_tower_bridge/config.json", {"pooled_adaln": "no"}, "pooled_adaln 'no'"),
        ("dual_tower_bridge/config.json", {"audio_fps": 0}, "audio_fps 0"),
        ("dual_tower_bridge/config.json", {"head_dim": 7}, "head_dim is 7"),
        ("dual_tower_bridge/config.json", {"visual_layers": 4}, "visual_layers is 4, the tower's is 3"),
        ("video_dit/config.json", {"dim": "24"}, "dim '24'"),
        ("video_dit/config.json", {"num_heads": 5}, "num_heads 5"),
        ("video_dit/config.json", {"num_heads": 8}, "head_dim is 3"),
        ("video_dit/config.json", {"patch_size": [2, 2]}, r"patch_size \(2, 2\)"),
        ("video_dit/config.json", {"num_layers": [3]}, r"num_layers \(3,\)"),
        ("audio_dit/config.json", {"patch_size": 1}, "patch_size 1"),
        ("model_index.json", {"boundary_ratio": "0.9"}, "boundary_ratio is '0.9'"),
    ],
)
def test_configurations_that_no_model_can_have_end_in_one_line(
    make_model: Callable[..., DualTower], tmp_path: Path, file: str, changes: dict[str, object], found: str
) -> None:
    save_model(make_model(), tmp_path)
    (tmp_path / file).write_text(json.dumps(json.loads((tmp_path / file).read_text()) | changes))
    with pytest.raises(UserError, match=found):
        load_model(tmp_path)
