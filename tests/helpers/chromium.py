"""A headless Chromium driven over its DevTools protocol: open a page, wait for words on it, click, take a picture."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--window-size=1600,1000",
)
SECONDS_BETWEEN_LOOKS = 0.25


def find_browser() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """``with Chromium(executable, profile) as page:``; the browser ends with the block."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._command = [executable, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._profile = profile
        self._next_id = 0
        self._open = contextlib.ExitStack()
        self._socket: ClientConnection | None = None

    def __enter__(self) -> Chromium:
        with contextlib.ExitStack() as opened:
            process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            opened.callback(process.wait)
            opened.callback(process.kill)
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port(seconds=60.0)}/json/list", timeout=30) as answer:
                pages = json.load(answer)
            address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            self._socket = opened.enter_context(connect(address, max_size=None))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def text(self) -> str:
        """All words that the page shows."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, *words: str, seconds: float = 60.0) -> None:
        """Returns once all `words` are on the page; fails with what is there instead."""
        deadline = time.monotonic() + seconds
        while not all(word in self.text() for word in words):
            if time.monotonic() > deadline:
                raise AssertionError(f"{words} did not all appear within {seconds} s; the page says: {self.text()!r}")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def click(self, words: str, seconds: float = 60.0) -> None:
        """Clicks the innermost button or link that reads exactly `words`, once it is there and enabled."""
        script = (
            "(() => { const all = [...document.querySelectorAll('button, a, [role=button], [role=menuitem]')];"
            f"const found = all.filter(e => e.innerText.trim() === {json.dumps(words)} && !e.disabled).pop();"
            "if (!found) return false; found.click(); return true; })()"
        )
        deadline = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise AssertionError(f"no button {words!r} within {seconds} s; the page says: {self.text()!r}")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def screenshot(self, path: Path) -> None:
        """Writes a PNG of what is in view."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert self._socket is not None
        self._next_id += 1
        self._socket.send(json.dumps({"id": self._next_id, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._next_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _port(self, seconds: float) -> int:
        """The port that Chromium chose and wrote into its profile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            path = self._profile / "DevToolsActivePort"
            if path.is_file() and (lines := path.read_text().splitlines()):
                return int(lines[0])
            time.sleep(SECONDS_BETWEEN_LOOKS)
        raise AssertionError(f"Chromium named no port within {seconds} s")
