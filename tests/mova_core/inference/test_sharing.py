"""How several processes share a prompts file: who makes what, who writes, and what the manifest holds meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova_core.errors import UserError
from mova_core.files import sha256_of_file
from mova_core.inference.defaults import RELEASED_SETTINGS
from mova_core.inference.prompt_folder import Made, PromptFolder, Wanted
from mova_core.inference.prompt_lines import Planned
from mova_core.inference.request import ClipRequest
from mova_core.inference.sharing import Sharing

IDS = ("first", "second", "third", "fourth")


def process(monkeypatch: pytest.MonkeyPatch, rank: int, together: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(together))


def wanted(name: str) -> Wanted:
    request = ClipRequest(id=name, prompt=f"a {name} bell")
    return Wanted(Planned(1, request, RELEASED_SETTINGS, 1), {"prompt": request.prompt, "given": {}, "model": {}})


def made(folder: PromptFolder, name: str) -> Made:
    item = wanted(name)
    folder.clip_path(item).write_bytes(name.encode())
    return Made(item, item.record, sha256_of_file(folder.clip_path(item)))


def listed(folder: PromptFolder) -> list[str]:
    return [line.split('"')[3] for line in folder.manifest.read_text().splitlines()]


def test_prompts_are_dealt_out_and_each_process_writes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    dealt = []
    for rank in range(3):
        process(monkeypatch, rank, 3)
        sharing = Sharing("prompts")
        assert sharing.writes
        assert not sharing.spreads
        dealt.append(list(sharing.own(range(7))))
    assert dealt == [[0, 3, 6], [1, 4], [2, 5]]


def test_of_a_spread_clip_all_have_a_share_and_the_first_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(3):
        process(monkeypatch, rank, 3)
        sharing = Sharing("sequence")
        assert sharing.spreads
        assert sharing.writes == (rank == 0)
        assert list(sharing.own(range(7))) == list(range(7))


def test_one_process_makes_and_writes_all_either_way() -> None:
    for sharing in (Sharing("prompts"), Sharing("sequence")):
        assert sharing.writes
        assert not sharing.spreads
        assert list(sharing.own(range(3))) == [0, 1, 2]


def test_another_word_is_refused() -> None:
    with pytest.raises(UserError, match="parallel is 'both'; expected one of prompts, sequence"):
        Sharing("both")  # type: ignore[arg-type]  # as from Python


def test_rows_of_other_processes_are_in_the_manifest_as_soon_as_the_first_adds_its_own(tmp_path: Path) -> None:
    first, second = PromptFolder(tmp_path), PromptFolder(tmp_path)
    first.begin([wanted(name) for name in IDS], replace=False)
    second.add_beside([made(second, "second")], 1)
    assert listed(first) == []
    first.add([made(first, "first")], IDS)
    second.add_beside([made(second, "fourth")], 1)
    assert listed(first) == ["first", "second"]
    third = made(first, "third")  # of a third process, whose file does not show up on this machine
    first.take_over([third.row], IDS)
    assert listed(first) == list(IDS)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl") == ["manifest.jsonl"]


def test_rows_that_killed_processes_left_count_in_the_next_run(tmp_path: Path) -> None:
    killed = PromptFolder(tmp_path)
    killed.begin([wanted(name) for name in IDS], replace=False)
    killed.add_beside([made(killed, "second")], 1)
    killed.add_beside([made(killed, "third")], 2)
    (tmp_path / "third.mp4").unlink()
    again = PromptFolder(tmp_path)
    pending = again.begin([wanted(name) for name in IDS], replace=False)
    assert [item.id for item in pending] == ["first", "third", "fourth"]
    assert listed(again) == ["second", "third"]
    assert list(tmp_path.glob(".rows.*")) == []
