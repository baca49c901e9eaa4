"""The lakeFS wrapper against a stand-in that answers over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lakefs_stand_in import StandIn, serving

from mova_core.errors import UserError
from mova_core.versioning.lakefs import REPOSITORY_VARIABLE, LakeFS


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    with serving(monkeypatch, tmp_path) as stand_in:
        yield stand_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "data" / "clips").mkdir(parents=True)
    (root / "data" / "clips" / "manifest.parquet").write_bytes(b"rows")
    (root / "data" / "clips" / "one clip.mp4").write_bytes(b"clip")
    return root


def opened() -> LakeFS:
    lake = LakeFS.from_environment()
    assert lake is not None
    return lake


def test_off_without_a_repository_name() -> None:
    assert LakeFS.from_environment({}) is None


def test_a_named_repository_without_credentials_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"LAKECTL_SERVER_{name}", raising=False)
        monkeypatch.delenv(f"LAKECTL_CREDENTIALS_{name}", raising=False)
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(tmp_path / "absent.yaml"))
    with pytest.raises(UserError, match=r"no lakeFS credentials.*LAKECTL_CREDENTIALS"):
        LakeFS.from_environment({REPOSITORY_VARIABLE: "lineage"})


def test_a_run_branches_uploads_commits_merges_and_tags_in_that_order(server: StandIn, root: Path) -> None:
    lake = opened()
    assert lake.begin("a1") == "run-a1"
    assert lake.mirror(root, root / "data" / "clips") == 2
    committed = lake.commit("clips", {"config": "c"})
    trunk = lake.merge({"clips accepted": True})
    lake.tag("release-1", trunk)

    assert server.calls == [
        "POST branches",
        "POST branches/run-a1/objects",
        "POST branches/run-a1/objects",
        "POST branches/run-a1/commits",
        "POST refs/run-a1/merge/main",
        "POST tags",
    ]
    assert committed == "lineage@commit1"
    assert server.tags == {"release-1": trunk}
    assert sorted(server.commits[trunk]) == ["data/clips/manifest.parquet", "data/clips/one clip.mp4"]


def test_a_failed_gate_leaves_the_trunk_as_it_was(server: StandIn, root: Path) -> None:
    lake = opened()
    lake.begin("a1")
    lake.mirror(root, root / "data" / "clips")
    lake.commit("clips", {})
    with pytest.raises(UserError, match=r"gates that did not pass \(loudness\)"):
        lake.merge({"loudness": False, "silence": True})
    assert server.branches["main"] == {}
    assert "POST refs/run-a1/merge/main" not in server.calls


def test_no_gate_at_all_is_not_a_pass(server: StandIn) -> None:
    lake = opened()
    lake.begin("a1")
    with pytest.raises(UserError, match="none was given"):
        lake.merge({})


def test_a_second_run_sends_only_what_changed_and_drops_what_went(server: StandIn, root: Path) -> None:
    clips = root / "data" / "clips"
    lake = opened()
    lake.begin("a1")
    lake.mirror(root, clips)
    first = lake.commit("clips", {})
    assert lake.mirror(root, clips) == 0
    assert lake.commit("clips", {}) == first

    (clips / "one clip.mp4").unlink()
    (clips / "manifest.parquet").write_bytes(b"fewer rows")
    again = opened()
    again.begin("a1")
    assert again.mirror(root, clips) == 1
    assert again.commit("clips", {}) != first
    assert sorted(server.branches["run-a1"]) == ["data/clips/manifest.parquet"]


def test_merging_again_with_nothing_new_is_harmless(server: StandIn, root: Path) -> None:
    lake = opened()
    lake.begin("a1")
    lake.mirror(root, root / "data" / "clips")
    lake.commit("clips", {})
    assert lake.merge({"ok": True}) == lake.merge({"ok": True})
    assert server.calls.count("POST refs/run-a1/merge/main") == 1


def test_a_tag_does_not_move(server: StandIn, root: Path) -> None:
    lake = opened()
    lake.begin("a1")
    lake.mirror(root, root / "data" / "clips")
    lake.commit("clips", {})
    trunk = lake.merge({"ok": True})
    lake.tag("release-1", trunk)
    lake.tag("release-1", trunk)
    with pytest.raises(UserError, match=r"tag release-1 is on commit commit2; expected commit commit0"):
        lake.tag("release-1", "commit0")


def test_a_server_that_refuses_is_one_line_with_the_remedy(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPOSITORY_VARIABLE, "nowhere")
    with pytest.raises(UserError, match=r"did not create branch run-a1 in nowhere .*404.*unset MOVA_LAKEFS_REPOSITORY"):
        opened().begin("a1")
