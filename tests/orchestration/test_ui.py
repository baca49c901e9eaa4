"""The interface as a person meets it: `dagster dev` in the repository, a real browser, an asset materialized."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chromium import Chromium, find_browser

from mova_core.config import preset_text
from mova_core.files import write_text
from mova_core.steps import STEPS
from mova_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
BROWSER = find_browser()
START_SECONDS = 180.0

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The nano preset with a corpus of a few seconds."""
    root = tmp_path_factory.mktemp("workspace")
    values = yaml.safe_load(preset_text("nano"))
    values["corpus"].update(minutes=0.05, video_seconds=3, clips_per_shot=[1, 1], faults=False)
    write_text(root / "params.yaml", yaml.safe_dump(values))
    return Workspace(root)


@pytest.fixture(scope="module")
def address(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a `dagster dev` that was started in the repository's root with nothing but workspace.yaml."""
    home = tmp_path_factory.mktemp("dagster")
    write_text(home / "dagster.yaml", "telemetry: {enabled: false}\nnux: {enabled: false}\n")
    port = _free_port()
    environment = {**os.environ, "DAGSTER_HOME": str(home), "MOVA_ROOT": str(workspace.root)}
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _wait_until_up(f"http://127.0.0.1:{port}", process, home / "dev.log")
    finally:
        _end(process)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert BROWSER is not None
    with Chromium(BROWSER, tmp_path_factory.mktemp("profile")) as page:
        yield page


def _free_port() -> int:
    """A port below those that the system hands out: no other test is given it before `dagster dev` has taken it."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("of a hundred ports below 32000 none is free")


def _wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return address
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError(f"dagster dev did not come up in {START_SECONDS} s; it said: {log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks `dagster dev` to end its services, and ends what is left of its process group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_page_shows_the_lineage(address: str, page: Chromium) -> None:
    page.open(f"{address}/asset-groups")
    page.wait_for("Global asset lineage", *(step.name for step in STEPS))


def test_an_asset_is_materialized_from_the_page(address: str, page: Chromium, workspace: Workspace) -> None:
    page.open(f"{address}/assets/corpus")
    page.wait_for("Never materialized")
    page.click("Materialize")
    deadline = time.monotonic() + START_SECONDS
    while not (workspace.reports / "corpus.json").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert list(workspace.raw("demo").glob("*.mp4")), "the button rendered videos"
    page.open(f"{address}/assets/corpus?view=events")
    page.wait_for("rows_out", "metric_minutes")
    page.open(f"{address}/assets/ingest?view=partitions")
    page.wait_for("demo", "footage")
