"""A stamp is equal for equal inputs, and different when data, configuration or code differ."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from mova_core.config import Config, parse_config, preset_text
from mova_core.errors import UserError
from mova_core.versioning import lineage
from mova_core.versioning.lineage import Lineage, stamp


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(preset_text("nano"), source="the nano preset")


@pytest.fixture(autouse=True)
def sources(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of the tests' own, which nobody edits while they run."""
    package = tmp_path_factory.mktemp("sources") / "mova_core"
    package.mkdir()
    (package / "__init__.py").write_text("one = 1")
    monkeypatch.setattr(lineage.mova_core, "__file__", str(package / "__init__.py"))
    return package


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("demo", "footage"):
        folder = tmp_path / "data" / "clips" / name
        folder.mkdir(parents=True)
        (folder / "manifest.parquet").write_bytes(f"rows of {name}".encode())
    return tmp_path


def manifests(root: Path) -> list[Path]:
    return [root / "data" / "clips" / name / "manifest.parquet" for name in ("footage", "demo")]


def test_equal_inputs_give_an_equal_stamp_wherever_they_lie(config: Config, root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    for source in manifests(root):
        target = moved / source.relative_to(root)
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    first = stamp(config, root, manifests(root))
    second = stamp(config, moved, reversed(manifests(moved)))
    assert first == second
    assert str(root) not in first.to_json()


def test_a_changed_manifest_changes_the_data_commit_only(config: Config, root: Path) -> None:
    before = stamp(config, root, manifests(root))
    manifests(root)[0].write_bytes(b"one row more")
    after = stamp(config, root, manifests(root))
    assert after.data_commit != before.data_commit
    assert after.config_hash == before.config_hash
    assert after.source_hash == before.source_hash


def test_a_changed_setting_changes_the_hash_of_its_section_only(config: Config) -> None:
    other = config.model_copy(update={"seed": config.seed + 1})
    assert lineage.config_hash(other) != lineage.config_hash(config)
    assert lineage.config_hash(other, ("seed",)) != lineage.config_hash(config, ("seed",))
    assert lineage.config_hash(other, ("media",)) == lineage.config_hash(config, ("media",))


def test_a_stamp_survives_the_disk(config: Config, root: Path) -> None:
    made = stamp(config, root, manifests(root), sections=("media",), lakefs_commit="lineage@commit1")
    made.save(root)
    assert Lineage.load(root) == made


def test_an_absent_stamp_and_an_absent_input_are_one_line(config: Config, root: Path) -> None:
    with pytest.raises(UserError, match=r"no readable lineage stamp"):
        Lineage.load(root)
    with pytest.raises(UserError, match=r"no file at .*absent.parquet"):
        stamp(config, root, [root / "absent.parquet"])


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_edited(sources: Path) -> None:
    (sources.parent / "kernels").mkdir()
    git(sources.parent, "init", "--quiet")
    git(sources.parent, "add", ".")
    git(sources.parent, "commit", "--quiet", "-m", "first")
    commit = git(sources.parent, "rev-parse", "HEAD")
    assert lineage.code_commit() == (commit, False)
    (sources.parent / "notes.txt").write_text("no code")
    assert lineage.code_commit() == (commit, False)
    (sources / "new.py").write_text("two = 2")
    assert lineage.code_commit() == (commit, True)


def test_a_copy_inside_somebody_s_repository_does_not_borrow_its_commit(sources: Path) -> None:
    git(sources.parent, "init", "--quiet")
    git(sources.parent, "commit", "--quiet", "--allow-empty", "-m", "theirs")
    assert lineage.code_commit() == ("unknown", None)


def test_without_git_the_code_is_known_by_its_sources(
    config: Config, root: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(root))
    before = stamp(config, root, manifests(root))
    assert (before.code_commit, before.code_is_dirty) == ("unknown", None)
    (sources / "__init__.py").write_text("one = 2")
    assert stamp(config, root, manifests(root)).source_hash != before.source_hash


def test_an_absent_library_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "STAMPED_LIBRARIES", ("no-such-distribution",))
    assert lineage.library_versions()["no-such-distribution"] == "absent"


def lock(root: Path, size: int) -> None:
    out = {"path": "data/clips/demo", "hash": "md5", "md5": "0123.dir", "size": size, "nfiles": 1}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"curate@demo": {"outs": [out]}}}))


def test_dvc_s_address_is_stated_while_its_lock_fits_the_folder(config: Config, root: Path) -> None:
    lock(root, size=len(b"rows of demo"))
    assert stamp(config, root, manifests(root)).dvc_outputs == {"data/clips/demo": "md5:0123.dir"}
    manifests(root)[1].write_bytes(b"rows of demo, grown since")
    assert stamp(config, root, manifests(root)).dvc_outputs == {}


def test_the_stamp_is_plain_json(config: Config, root: Path) -> None:
    values = json.loads(stamp(config, root, manifests(root)).to_json())
    assert set(values["inputs"]) == {"data/clips/demo/manifest.parquet", "data/clips/footage/manifest.parquet"}
    assert values["libraries"]["numpy"][0].isdigit()
