"""HTTP requests → answers, bounded in bytes and time, never by a proxy. For all of operations; load has `bench/client.py`.

Standard library only: each command and each health check of a container loads it.
"""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

PIECE = 1 << 16
ANSWER_MAX = 16 << 20  # bytes, head included: a page of a thousand charges fits


class NoAnswer(ConnectionError):
    """No answer, no HTTP, or an answer over the limits of size and time."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes

    def json(self) -> Any:
        """None for an empty body. Errors: ValueError."""
        return json.loads(self.body) if self.body else None


class HttpClient:
    """Requests to one server over one connection, opened when needed and kept while the server keeps it."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` is for each whole answer. Errors: ValueError if `url` is not a URL."""
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._connection.response_class = partial(_Reply, timeout_s=timeout_s)  # type: ignore[assignment]

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def request(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Of `url` only the path and the query count. Errors: NoAnswer."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            self._connection.request(method, target, body, dict(headers or {}))
            reply = self._connection.getresponse()
            # A read allocates as many bytes as it asks for.
            return HttpAnswer(reply.status, b"".join(iter(partial(reply.read, PIECE), b"")))
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error


def http_request(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, timeout_s: float
) -> HttpAnswer:
    """One request over its own connection. Errors: NoAnswer."""
    with HttpClient(url, timeout_s) as client:
        return client.request(method, url, body, headers)


class _BoundedStream(io.RawIOBase):
    """A reply's raw bytes: at most ANSWER_MAX, within `timeout_s`. Errors, while reading: OSError."""

    def __init__(self, raw: Any, timeout_s: float) -> None:
        self._raw = raw
        self._left = ANSWER_MAX
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._raw.readinto(buffer) or 0
        self._left -= count
        if self._left < 0:
            raise OSError(f"its reply is larger than {ANSWER_MAX} bytes")
        if time.monotonic() > self._until:
            raise TimeoutError(f"its reply took longer than {self._timeout_s:g} s")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, timeout_s: float, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_BoundedStream(self.fp.detach(), timeout_s))
