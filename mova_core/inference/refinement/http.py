"""One JSON request to a server: a time limit, retries with growing pauses, and failures in words a person can use."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mova_core.errors import UserError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
MOST_BYTES = 4 << 20
LONGEST_PAUSE_SECONDS = 30.0
SHOWN_CHARACTERS = 200


class Refused(Exception):
    """The server answered with an error that asking again would not mend.

    Attributes
    ----------
    status : the HTTP status.
    detail : the beginning of what the server said.
    """

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = " ".join(detail.split())[:SHOWN_CHARACTERS]
        super().__init__(f"status {status}: {self.detail}")


@dataclass(frozen=True)
class JsonClient:
    """Posts JSON to one address.

    Attributes
    ----------
    timeout_seconds : of one attempt, without a byte from the server.
    num_attempts : including the first.
    first_pause_seconds : before the second attempt; doubled each time. A longer Retry-After counts.
    sleep : waits; another one in tests.
    """

    url: str
    headers: Mapping[str, str]
    timeout_seconds: float
    num_attempts: int
    first_pause_seconds: float
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Raises `UserError` for an address that cannot be asked."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise UserError(
                f"the server's address is {parts.scheme or '(no scheme)'}://{parts.hostname or '(no host)'}",
                expected="http:// or https:// with a host and without a user name in it",
                remedy="give the address up to /v1, as in http://localhost:8000/v1",
            )

    def post(self, values: Mapping[str, Any]) -> Any:
        """What the server answers to `values`.

        Raises
        ------
        UserError : if no attempt reaches it, or what it says is no JSON.
        Refused : for an error status that is not worth another attempt, or the last attempt's.
        """
        pause = self.first_pause_seconds
        for attempt in range(1, self.num_attempts + 1):
            try:
                return self._once(values)
            except urllib.error.HTTPError as error:
                with error:
                    refused = Refused(error.code, error.read(MOST_BYTES).decode("utf-8", "replace"))
                    wanted = _seconds(error.headers.get("Retry-After"))
                if error.code not in RETRIED or attempt == self.num_attempts:
                    raise refused from None
                self.sleep(min(max(pause, wanted), LONGEST_PAUSE_SECONDS))
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.num_attempts:
                    raise UserError(
                        f"no answer from {self.url} in {attempt} attempts ({_reason(error)})",
                        expected="an OpenAI-compatible server",
                        remedy="start it, or mend its address (--url or MOVA_REFINE_URL)",
                    ) from error
                self.sleep(pause)
            pause *= 2
        raise AssertionError("an attempt returns or raises")

    def _once(self, values: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url,
            data=json.dumps(values).encode(),
            headers={"Content-Type": "application/json", **self.headers},
            method="POST",
        )
        # Followed, a redirection would carry the key to another host.
        handlers: list[Any] = [_NoRedirects()]
        if _is_here(urlsplit(self.url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_seconds) as answer:
            content = answer.read(MOST_BYTES)
        try:
            return json.loads(content)
        except ValueError as error:
            shown = content[:SHOWN_CHARACTERS].decode("utf-8", "replace")
            raise UserError(
                f"{self.url} answered with what is no JSON ({shown!r})",
                expected="an answer of the chat completions interface",
                remedy="give the address up to /v1, as in http://localhost:8000/v1",
            ) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _is_here(host: str) -> bool:
    """Whether a host is this machine, which no proxy has to be asked for."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(text: str | None) -> float:
    try:
        return max(float(text or 0), 0.0)
    except ValueError:  # a date
        return 0.0


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
