"""A tiny workspace whose every step before `release` is done, and the release made of it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_workspace import tiny_config, tiny_workspace

from mova_core.config import Config
from mova_core.files import write_text
from mova_core.inference import step as sample_step
from mova_core.release import step
from mova_core.versioning import lineage
from mova_core.versioning.lakefs import REPOSITORY_VARIABLE
from mova_core.workspace import Workspace

METRICS = {
    "joint3_clips": 4,
    "joint3_visible_events": 38,
    "joint3_within_one_frame": 0.71,
    "joint3_chance_within_one_frame": 0.17,
    "joint3_median_abs_ms": 29.4,
    "joint3_lamp_visible_events": 20,
    "joint3_lamp_within_one_frame": 0.9,
    "codec_audio_snr_db": 22.84,
    "codec_32x32_clips": 4,
    "codec_32x32_visible_events": 37,
    "codec_32x32_within_one_frame": 0.9,
}


@contextlib.contextmanager
def still_code() -> Iterator[pytest.MonkeyPatch]:
    """An edit of the sources while the tests run must not look like other inputs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage, "code_commit", lambda: ("c" * 40, False))
        patch.setattr(lineage, "source_hash", lambda: "5" * 16)
        yield patch


@pytest.fixture(autouse=True)
def code_stands_still() -> Iterator[None]:
    """For each test here, and for none elsewhere; fixtures that outlive a test enter `still_code` themselves."""
    with still_code():
        yield


@pytest.fixture(scope="session")
def config() -> Config:
    return tiny_config(solver="multistep")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    """A sampled and evaluated workspace, to be copied."""
    workspace = tiny_workspace(tmp_path_factory.mktemp("template"), config)
    with still_code():
        sample_step.run(config, workspace)
    write_text(workspace.evaluation / "metrics.json", json.dumps(METRICS))
    return workspace.root


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, template: Path, config: Config) -> Workspace:
    """A released workspace; read only."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("released") / "workspace"))
    with still_code() as patch:
        patch.delenv(REPOSITORY_VARIABLE, raising=False)
        step.run(config, Workspace(root))
    return Workspace(root)


@pytest.fixture(autouse=True)
def lakefs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REPOSITORY_VARIABLE, raising=False)


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    """A workspace ready to release."""
    return Workspace(Path(shutil.copytree(template, tmp_path / "workspace")))


@pytest.fixture
def folder(released: Workspace, tmp_path: Path) -> Path:
    """A copy of the release, to be damaged."""
    return Path(shutil.copytree(released.release, tmp_path / "release"))
