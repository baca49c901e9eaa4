"""Cached latents and the order in which training sees them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from mova_core.data.manifest import write_manifest
from mova_core.data.records import LatentRow
from mova_core.data.shards import BatchSampler, LatentStore, stored_fingerprint, write_shard, write_text_table
from mova_core.errors import UserError

LENGTHS = (1, 3, 5)


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensors(count: int, seed: int) -> dict[str, torch.Tensor]:
    return {
        "video_32x32": random(count, 4, 3, 2, 2, seed=seed),
        "first_32x32": random(count, 4, 3, 2, 2, seed=seed + 1),
        "video_64x64": random(count, 4, 3, 4, 4, seed=seed + 2),
        "first_64x64": random(count, 4, 3, 4, 4, seed=seed + 3),
        "audio": random(count, 5, 7, seed=seed + 4),
        "audio_levelled": random(count, 5, 7, seed=seed + 5),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of three and two clips; three prompts of one, three and five tokens, of at most six."""
    rows = []
    for name, count, seed in (("a-00000.safetensors", 3, 10), ("b-00000.safetensors", 2, 20)):
        write_shard(tmp_path / "shards" / name, tensors(count, seed), "some fingerprint")
        for row in range(count):
            split = "val" if row == 0 else "train"
            phases = ["audio", "joint1"] if row == 1 else ["audio"]
            clip_id = f"{name[0]}{row}"
            rows.append(LatentRow(clip_id, name[0], split, "lamp", "words", name, row, row % len(LENGTHS), phases))
    write_text_table(tmp_path / "shards" / "text.safetensors", random(9, 8, seed=1), torch.tensor(LENGTHS), 6, "text")
    write_manifest(tmp_path / "manifest.parquet", LatentRow, rows)
    return tmp_path


def test_a_batch_holds_the_rows_asked_for_in_their_order(folder: Path) -> None:
    store = LatentStore(folder)
    batch = store.batch([4, 1, 1], (64, 64), loudness_normalised=False)
    a, b = tensors(3, 10), tensors(2, 20)
    for found, name in ((batch.video, "video_64x64"), (batch.first_frame, "first_64x64"), (batch.audio, "audio")):
        expected = torch.stack([b[name][1], a[name][1], a[name][1]])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=2**-11, atol=1e-6)


def test_the_other_resolution_and_the_levelled_sound(folder: Path) -> None:
    batch = LatentStore(folder).batch([2], (32, 32), loudness_normalised=True)
    torch.testing.assert_close(batch.video[0], tensors(3, 10)["video_32x32"][2], rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(batch.first_frame[0], tensors(3, 10)["first_32x32"][2], rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(batch.audio[0], tensors(3, 10)["audio_levelled"][2], rtol=2**-11, atol=1e-6)


def test_text_is_padded_with_zeros_past_each_prompt(folder: Path) -> None:
    store = LatentStore(folder)
    text = store.batch([0, 1, 2], (32, 32), loudness_normalised=False).text
    assert text.shape == (3, 6, 8)
    states = random(9, 8, seed=1)
    starts = (0, 1, 4)
    for row, start, length in zip(text, starts, LENGTHS, strict=True):
        torch.testing.assert_close(row[:length], states[start : start + length], rtol=2**-11, atol=1e-6)
        assert row[length:].abs().sum() == 0
    assert torch.equal(store.null_text, text[0])


def test_shapes_and_resolutions_are_told_without_reading_a_batch(folder: Path) -> None:
    store = LatentStore(folder)
    assert store.resolutions == [(32, 32), (64, 64)]
    assert store.video_shape((64, 64)) == (4, 3, 4, 4)
    assert (store.audio_shape, store.text_shape) == ((5, 7), (6, 8))
    with pytest.raises(UserError, match="no latents of 48x48 pictures are cached; expected one of 32x32, 64x64"):
        store.batch([0], (48, 48), loudness_normalised=False)


def test_rows_are_found_by_split_and_phase(folder: Path) -> None:
    store = LatentStore(folder)
    assert [row.clip_id for row in store.rows] == ["a0", "a1", "a2", "b0", "b1"]
    assert store.indices() == [0, 1, 2, 3, 4]
    assert store.indices(split="val") == [0, 3]
    assert store.indices(split="train", phase="joint1") == [1, 4]


def test_equal_latents_are_equal_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    write_shard(again, tensors(3, 10), "some fingerprint")
    assert again.read_bytes() == (folder / "shards" / "a-00000.safetensors").read_bytes()


def test_a_file_knows_what_it_was_made_from(folder: Path) -> None:
    assert stored_fingerprint(folder / "shards" / "a-00000.safetensors") == "some fingerprint"
    assert stored_fingerprint(folder / "shards" / "text.safetensors") == "text"
    assert stored_fingerprint(folder / "shards" / "none.safetensors") is None
    (folder / "shards" / "a-00000.safetensors").write_bytes(b"cut off")
    assert stored_fingerprint(folder / "shards" / "a-00000.safetensors") is None


def test_an_unfinished_or_damaged_folder_is_the_users_to_mend(folder: Path) -> None:
    (folder / "shards" / "b-00000.safetensors").unlink()
    with pytest.raises(UserError, match=r"b-00000\.safetensors does not read.*run `mova encode`"):
        LatentStore(folder)
    (folder / "manifest.parquet").unlink()
    with pytest.raises(UserError, match="no manifest"):
        LatentStore(folder)


def test_every_row_comes_once_before_any_comes_again() -> None:
    rows = list(range(100, 110))
    sampler = BatchSampler(rows, batch_size=4, seed=7)
    drawn = [index for step in range(25) for index in sampler.batch(step)]
    for first in range(0, 100, 10):
        assert sorted(drawn[first : first + 10]) == rows
    assert len({tuple(drawn[first : first + 10]) for first in range(0, 100, 10)}) == 10


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    rows = list(range(50))
    there = BatchSampler(rows, 8, seed=3)
    backwards = BatchSampler(rows, 8, seed=3)
    forwards = [there.batch(step) for step in range(30)]
    assert [backwards.batch(step) for step in reversed(range(30))] == forwards[::-1]
    assert BatchSampler(rows, 8, seed=3).batch(17) == forwards[17]
    assert BatchSampler(rows, 8, seed=4).batch(17) != forwards[17]


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_share_the_batch_without_gap_or_overlap(num_ranks: int) -> None:
    sampler = BatchSampler(list(range(30)), 8, seed=1)
    for step in range(10):
        shares = [sampler.batch(step, rank, num_ranks) for rank in range(num_ranks)]
        assert all(len(share) == 8 // num_ranks for share in shares)
        assert [index for share in shares for index in share] == sampler.batch(step)


def test_a_batch_larger_than_the_data_takes_it_evenly() -> None:
    assert set(Counter(BatchSampler([5, 6, 7], 9, seed=0).batch(0)).values()) == {3}


def test_what_cannot_be_sampled_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="there is no clip to train on"):
        BatchSampler([], 4, seed=0)
    with pytest.raises(UserError, match="a batch of 9 for 2 processes"):
        BatchSampler([1, 2], 9, seed=0).batch(0, 0, 2)
