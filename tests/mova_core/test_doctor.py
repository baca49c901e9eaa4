"""The doctor's findings: from a machine that can do it all to one that can do nothing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from mova_core import doctor
from mova_core.cli import main
from mova_core.config import preset_names
from mova_core.doctor import GIBIBYTE, NEEDS, Machine, examine, preset_finding

LARGE = Machine(64, 2048 * GIBIBYTE, 20_000 * GIBIBYTE, (("GPU", 90 * GIBIBYTE),) * 16, (3, 12))
SMALL = Machine(2, 4 * GIBIBYTE, 2 * GIBIBYTE, (), (3, 11))


def test_every_preset_has_its_needs_stated() -> None:
    assert set(NEEDS) == set(preset_names())


@pytest.mark.parametrize("name", NEEDS)
def test_a_cluster_fits_every_preset_and_a_small_machine_none(name: str) -> None:
    assert preset_finding(name, NEEDS[name], LARGE).is_fine
    lacking = preset_finding(name, NEEDS[name], SMALL)
    assert not lacking.is_fine
    assert f"{NEEDS[name].memory:g} GiB of memory" in lacking.found


def test_devices_that_are_too_small_do_not_count() -> None:
    small_devices = Machine(64, 2048 * GIBIBYTE, 20_000 * GIBIBYTE, (("GPU", 16 * GIBIBYTE),) * 8, (3, 12))
    assert "8 GPUs of 80 GiB" in preset_finding("mova-360p", NEEDS["mova-360p"], small_devices).found


def test_this_machine_is_described_topic_by_topic(tmp_path: Path) -> None:
    text = examine(tmp_path).text()
    for topic in ("machine", "packages", "tools", "presets"):
        assert f"\n{topic}\n" in f"\n{text}"
    assert f"torch {importlib.metadata.version('torch')}" in text


def test_a_missing_package_names_its_extra_and_stops_the_nano_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "deepspeed" else known(name))
    assert main(["--root", str(tmp_path), "doctor"]) == 1
    text = capsys.readouterr().out
    assert "missing deepspeed; `make install` or pip install 'mova-lineage[distributed]'" in text
    assert "cannot run here yet" in text


def test_what_only_some_want_does_not_stop_the_nano_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.delenv(doctor.LAKEFS_VARIABLE, raising=False)
    examination = examine(tmp_path)
    assert "apt install chromium" in examination.text()
    assert "data versions are DVC's" in examination.text()
    assert examination.runs_nano == preset_finding("nano", NEEDS["nano"], doctor.look(tmp_path)).is_fine
