"""A real HTTP server on a local port that speaks the chat completions interface, with answers that a test sets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One answer: a status with a body; `content` is wrapped as a chat completion, `raw` goes out as it is."""

    content: str | dict[str, Any] | None = None
    status: int = 200
    raw: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def body(self) -> bytes:
        if self.content is None:
            return self.raw.encode()
        text = self.content if isinstance(self.content, str) else json.dumps(self.content)
        return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class ChatServer:
    """Gives `replies` in turn, the last one for ever; `requests` and `paths` and `keys` say what it was asked."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.ended = threading.Event()
        self.url = ""

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextlib.contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that ends with the block."""
    known = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known.requests.append(json.loads(body))
            known.paths.append(self.path)
            known.keys.append(self.headers["Authorization"])
            reply = known.next_reply()
            known.ended.wait(reply.seconds)
            with contextlib.suppress(ConnectionError):  # a client that gave up
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body())))
                self.end_headers()
                self.wfile.write(reply.body())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    known.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield known
    finally:
        known.ended.set()
        http.shutdown()
        http.server_close()
        thread.join()
