"""The lakeFS wrapper against a stand-in that keeps branches, objects, commits and tags in memory over real HTTP."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mova_core.errors import UserError
from mova_core.versioning.lakefs import REPOSITORY_VARIABLE, LakeFS

Objects = dict[str, dict[str, str]]


class StandIn:
    """What the server knows. `calls` lists writing requests in order, without object names' query strings."""

    def __init__(self) -> None:
        self.branches: dict[str, Objects] = {"main": {}}
        self.heads: dict[str, str] = {"main": "commit0"}
        self.commits: dict[str, Objects] = {"commit0": {}}
        self.tags: dict[str, str] = {}
        self.calls: list[str] = []

    def commit(self, branch: str) -> str:
        name = f"commit{len(self.commits)}"
        self.commits[name] = {path: dict(entry) for path, entry in self.branches[branch].items()}
        self.heads[branch] = name
        return name

    def answer(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, Any]:
        parts = path.removeprefix("/api/v1/").split("/")
        if parts == ["config"]:
            storage = {
                "blockstore_type": "mem",
                "blockstore_namespace_example": "mem://",
                "blockstore_namespace_ValidityRegex": ".*",
                "pre_sign_support": False,
                "pre_sign_support_ui": False,
                "import_support": False,
                "import_validity_regex": ".*",
            }
            return 200, {"storage_config": storage, "version_config": {"version": "0"}}
        if parts[:2] != ["repositories", "lineage"]:
            return 404, {"message": "no such repository"}
        if method != "GET":
            self.calls.append(f"{method} {'/'.join(parts[2:])}")
        return self.in_repository(method, parts[2:], query, headers, json.loads(body) if _is_json(headers) else {})

    def in_repository(
        self, method: str, parts: list[str], query: dict[str, str], headers: Any, values: dict[str, Any]
    ) -> tuple[int, Any]:
        match (method, *parts):
            case ("GET",):
                return 200, {
                    "id": "lineage",
                    "creation_date": 0,
                    "default_branch": "main",
                    "storage_namespace": "mem://l",
                }
            case ("POST", "branches"):
                if values["name"] in self.branches:
                    return 409, {"message": "exists"}
                self.branches[values["name"]] = dict(self.branches[values["source"]])
                self.heads[values["name"]] = self.heads[values["source"]]
                return 201, self.heads[values["name"]]
            case ("GET", "branches", name):
                return 200, {"id": name, "commit_id": self.heads[name]}
            case ("GET", "refs", name, "objects", "ls"):
                found = [p for p in sorted(self.branches[name]) if p.startswith(query["prefix"])]
                return 200, _page([self.stats(name, path) for path in found])
            case ("POST", "branches", name, "objects"):
                self.branches[name][query["path"]] = {"sha256": headers["x-lakefs-meta-sha256"]}
                return 201, self.stats(name, query["path"])
            case ("POST", "branches", name, "objects", "delete"):
                for path in values["paths"]:
                    del self.branches[name][path]
                return 200, {"errors": []}
            case ("GET", "branches", name, "diff"):
                return 200, _page(_changes(self.commits[self.heads[name]], self.branches[name]))
            case ("GET", "refs", left, "diff", right):
                return 200, _page(_changes(self.branches[left], self.branches[right]))
            case ("POST", "branches", name, "commits"):
                return 201, self.record(self.commit(name))
            case ("POST", "refs", source, "merge", destination):
                self.branches[destination] = dict(self.branches[source])
                return 200, {"reference": self.commit(destination)}
            case ("POST", "tags"):
                if values["id"] in self.tags:
                    return 409, {"message": "exists"}
                self.tags[values["id"]] = values["ref"]
                return 201, {"id": values["id"], "commit_id": values["ref"]}
            case ("GET", "commits", reference):
                return 200, self.record(self.tags.get(reference, reference))
        return 404, {"message": f"{method} {parts}"}

    def stats(self, branch: str, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "path_type": "object",
            "physical_address": "mem://x",
            "checksum": "c",
            "mtime": 0,
            "size_bytes": 1,
            "metadata": self.branches[branch][path],
        }

    def record(self, commit: str) -> dict[str, Any]:
        return {
            "id": commit,
            "parents": [],
            "committer": "c",
            "message": "m",
            "creation_date": 0,
            "meta_range_id": "",
            "metadata": {},
        }


def _is_json(headers: Any) -> bool:
    return headers.get("Content-Type", "").startswith("application/json")


def _page(results: list[Any]) -> dict[str, Any]:
    pagination = {"has_more": False, "next_offset": "", "results": len(results), "max_per_page": 1000}
    return {"pagination": pagination, "results": results}


def _changes(before: Objects, after: Objects) -> list[dict[str, Any]]:
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [{"type": "changed", "path": name, "path_type": "object", "size_bytes": 1} for name in names]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self.read_chunks()
            status, values = stand_in.answer(self.command, url.path, query, self.headers, body)
            content = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(values, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def read_chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(tmp_path / "absent.yaml"))
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(REPOSITORY_VARIABLE, "lineage")
    yield stand_in
    http.shutdown()
    http.server_close()
    thread.join()


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
