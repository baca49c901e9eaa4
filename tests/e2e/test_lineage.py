"""The whole lineage at the smallest size, made by DVC; made again from killed steps; and not made again for nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from smallest_lineage import smallest_params

from mova_core.config import load_config
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Clip, LatentRow, Reject, Sample
from mova_core.report import StageReport
from mova_core.steps import STEPS, output_paths, report_path
from mova_core.workspace import Workspace
from orchestration.assets import command_of

ROOT = Path(__file__).resolve().parents[2]
WATCHED_CODE = ("mova_core", "kernels")
NO_CHANGE_SECONDS = 15.0
START_SECONDS = 6.0  # the longest a command takes before its step begins
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def scopes(workspace: Workspace) -> list[tuple[str, str | None]]:
    """Step and collection of every run of the lineage, in order."""
    collections = load_config(workspace.params).collections
    return [(step.name, name) for step in STEPS for name in (collections if step.per_collection else [None])]


def dvc(workspace: Workspace, *arguments: str) -> str:
    """What DVC prints; fails with it if DVC does."""
    environment = {**ENVIRONMENT, "DVC_SITE_CACHE_DIR": str(workspace.root / ".dvc" / "site")}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=workspace.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project as a fresh clone has it, with the smallest settings, after one `dvc repro`."""
    root = tmp_path_factory.mktemp("lineage")
    (root / "params.yaml").write_text(smallest_params())
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    for name in WATCHED_CODE:  # DVC hashes it; what runs is the installed one
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    workspace = Workspace(root)
    dvc(workspace, "repro")
    return workspace


def test_every_step_left_its_outputs_and_its_report(workspace: Workspace) -> None:
    by_name = {step.name: step for step in STEPS}
    for name, collection in scopes(workspace):
        step = by_name[name]
        for folder in output_paths(step, workspace, collection):
            assert any(folder.rglob("*")), f"{name} left {folder} empty"
        report = StageReport.load(report_path(step, workspace, collection))
        assert report.rows_out > 0
        for preview in report.previews:
            assert (workspace.root / preview).is_file(), f"{name} names {preview}"


def test_no_row_is_lost_from_the_raw_file_to_the_latent(workspace: Workspace) -> None:
    config = load_config(workspace.params)
    clips = []
    for collection in config.collections:
        folder = workspace.clips(collection)
        accepted = read_manifest(folder / "manifest.parquet", Clip)
        report = StageReport.load(workspace.reports / f"curate-{collection}.json")
        assert len(accepted) == report.rows_out
        assert len(read_manifest(folder / "rejects.parquet", Reject)) == sum(report.rejected.values())
        assert report.rows_in == report.rows_out + sum(report.rejected.values())
        clips += accepted
    rows = read_manifest(workspace.latents / "manifest.parquet", LatentRow)
    assert {row.clip_id for row in rows} == {clip.clip_id for clip in clips}


def test_samples_play_and_the_report_shows_them(workspace: Workspace) -> None:
    config = load_config(workspace.params)
    for entry in config.sample.sets:
        folder = workspace.samples / entry.name
        samples = read_manifest(folder / "manifest.parquet", Sample)
        assert len(samples) == config.sample.num_clips
        assert all((folder / sample.path).stat().st_size > 0 for sample in samples)
    page = (workspace.evaluation / "report.html").read_text(encoding="utf-8")
    assert "data:video/mp4;base64," in page
    assert json.loads((workspace.evaluation / "metrics.json").read_text())


def test_a_second_repro_does_nothing_and_says_so_soon(workspace: Workspace) -> None:
    started = time.monotonic()
    said = dvc(workspace, "repro")
    assert time.monotonic() - started < NO_CHANGE_SECONDS
    assert "Data and pipelines are up to date" in said
    assert "Running stage" not in said


def test_an_edited_setting_touches_what_depends_on_it_and_no_more(workspace: Workspace) -> None:
    text = workspace.params.read_text()
    values = yaml.safe_load(text)
    values["train"]["phases"]["joint3"]["steps"] += 1
    workspace.params.write_text(yaml.safe_dump(values, sort_keys=False))
    try:
        changed = set(json.loads(dvc(workspace, "status", "--json")))
    finally:
        workspace.params.write_text(text)
    assert changed == {"train_joint3", "evaluate"}


@pytest.mark.slow
def test_killed_steps_end_with_the_same_manifests(workspace: Workspace, tmp_path: Path) -> None:
    """Every step is killed once at a moment drawn at random, then run to its end."""
    again = Workspace(tmp_path)
    again.params.write_text(workspace.params.read_text())
    moments = random.Random(4)
    by_name = {step.name: step for step in STEPS}
    num_killed = 0
    for name, collection in scopes(workspace):
        step = by_name[name]
        undisturbed = StageReport.load(report_path(step, workspace, collection)).seconds
        command = [sys.executable, "-m", "mova_core", "--root", str(tmp_path), *command_of(step, collection)[1:]]
        num_killed += run_and_kill(command, moments.uniform(0.0, undisturbed + START_SECONDS))
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    assert num_killed > len(STEPS) / 2, "most were still running"
    assert manifests(again) == manifests(workspace)
    weights = Path("checkpoint", "audio_dit")
    for phase in ("audio", "joint3"):
        assert contents(again.run(phase) / weights) == contents(workspace.run(phase) / weights)


def run_and_kill(command: list[str], seconds: float) -> bool:
    """Whether the command was still running after `seconds`; it and all it started are gone either way."""
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def manifests(workspace: Workspace) -> dict[str, bytes]:
    """Every manifest under data, by its path."""
    return {str(path.relative_to(workspace.data)): path.read_bytes() for path in workspace.data.rglob("*.parquet")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
