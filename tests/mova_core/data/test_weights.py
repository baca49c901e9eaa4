"""Stored weights: mapped and not copied, whole or refused, every fault told by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mova_core.data.weights import WEIGHTS_FILE, check_finite, check_fit, fill, mapped_weights
from mova_core.errors import UserError

INDEX = f"{WEIGHTS_FILE}.index.json"


def stored(folder: Path, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2), **changes}
    save_file(weights, folder / WEIGHTS_FILE)
    return weights


def split(folder: Path, placed: dict[str, str], parts: dict[str, list[str]]) -> None:
    for part, names in parts.items():
        save_file({name: torch.ones(2) for name in names}, folder / part)
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))


def test_a_module_on_the_meta_device_takes_the_mapped_bytes_themselves(tmp_path: Path) -> None:
    saved = stored(tmp_path)
    weights = mapped_weights(tmp_path)
    with torch.device("meta"):
        module = nn.Linear(3, 2)
    fill(module, weights, tmp_path)
    assert torch.equal(module.weight, saved["weight"])
    assert module.weight.data_ptr() == weights["weight"].data_ptr()
    assert module.bias.requires_grad


def test_what_changes_in_memory_never_reaches_the_file(tmp_path: Path) -> None:
    stored(tmp_path)
    before = (tmp_path / WEIGHTS_FILE).read_bytes()
    mapped_weights(tmp_path)["bias"].zero_()
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == before
    assert mapped_weights(tmp_path)["bias"].tolist() == [1.0, 1.0]


def test_mapping_reads_no_values(tmp_path: Path) -> None:
    def resident_bytes() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    size = 64 * 2**20
    save_file({"weight": torch.zeros(size // 4)}, tmp_path / WEIGHTS_FILE)
    before = resident_bytes()
    weights = mapped_weights(tmp_path)
    assert resident_bytes() - before < size / 8
    assert float(weights["weight"].sum()) == 0


def test_another_dtype_can_be_chosen(tmp_path: Path) -> None:
    stored(tmp_path)
    module = nn.Linear(3, 2)
    fill(module, mapped_weights(tmp_path), tmp_path, dtype=torch.bfloat16)
    assert module.weight.dtype == torch.bfloat16


def test_parameters_that_do_not_fit_are_listed_by_name(tmp_path: Path) -> None:
    weights = {"weight": torch.zeros(3, 3), "surplus": torch.zeros(1)}
    with pytest.raises(UserError) as caught:
        check_fit(weights, {"weight": (2, 3), "bias": (2,)}, tmp_path)
    assert "1 unknown: surplus" in str(caught.value)
    assert "1 missing: bias" in str(caught.value)
    assert "weight (3, 3) instead of (2, 3)" in str(caught.value)


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"50 unknown: name0, .* and 30 more"):
        check_fit({f"name{index}": torch.zeros(1) for index in range(50)}, {}, tmp_path)


def test_values_that_are_no_plain_floats_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 not stored as plain floating point: bias \(torch.int8\)"):
        check_fit({"bias": torch.zeros(2, dtype=torch.int8)}, {"bias": (2,)}, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    bad = torch.zeros(100, dtype=dtype)
    bad[77] = value
    with pytest.raises(UserError, match=r"not finite \(layer\.bad\)"):
        check_finite({"layer.good": torch.ones(3), "layer.bad": bad}, tmp_path)


def test_large_finite_values_pass(tmp_path: Path) -> None:
    check_finite({"large": torch.full((4,), torch.finfo(torch.float32).max), "empty": torch.zeros(0)}, tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_file_cut_short_is_told_by_its_path(tmp_path: Path, kept: int) -> None:
    stored(tmp_path)
    whole = (tmp_path / WEIGHTS_FILE).read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(whole[:kept])
    with pytest.raises(UserError, match=rf"{WEIGHTS_FILE} is not readable as safetensors"):
        mapped_weights(tmp_path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    for name in ("diffusion_pytorch_model.bin", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"no weights at .*pickles can run code and are not read: diffusion_pytorch"):
        mapped_weights(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="not readable as safetensors"):
        mapped_weights(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "sub/part.safetensors", "..", "part.bin"])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "component"
    folder.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    split(folder, {"a": name}, {})
    with pytest.raises(UserError, match="names what is no safetensors file of its own folder"):
        mapped_weights(folder)


def test_parts_that_an_index_names_are_joined(tmp_path: Path) -> None:
    parts = {"1.safetensors": ["a"], "2.safetensors": ["b", "c"]}
    split(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}, parts)
    assert sorted(mapped_weights(tmp_path)) == ["a", "b", "c"]


def test_an_index_and_its_parts_have_to_agree(tmp_path: Path) -> None:
    placed = {"a": "1.safetensors", "b": "2.safetensors"}
    split(tmp_path, placed, {"1.safetensors": ["a"], "2.safetensors": ["c"]})
    with pytest.raises(UserError, match=r"2\.safetensors lacks b, which .*index\.json places there"):
        mapped_weights(tmp_path)
    split(tmp_path, placed, {"1.safetensors": ["a"], "2.safetensors": ["a", "b"]})
    with pytest.raises(UserError, match=r"2\.safetensors holds a, which another file"):
        mapped_weights(tmp_path)
    (tmp_path / "2.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights at .*2\.safetensors"):
        mapped_weights(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    stored(tmp_path)
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(UserError, match=r"index\.json (is not JSON|holds no weight_map)"):
        mapped_weights(tmp_path)
