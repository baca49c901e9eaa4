"""A lakeFS that keeps branches, objects, commits and tags in memory and speaks the REST endpoints in use."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mova_core.versioning.lakefs import REPOSITORY_VARIABLE

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


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[StandIn]:
    """A stand-in on a local port, with the environment that names it; `folder` has no ~/.lakectl.yaml."""
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
            self.send_header("Content-Type", "application/json")
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
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(folder / "absent.yaml"))
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(REPOSITORY_VARIABLE, "lineage")
    try:
        yield stand_in
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
