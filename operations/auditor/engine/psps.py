"""The PSPs' own HTTP listings → every charge that they say they made."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from psp.port import HttpRequest, ListedCharge, ListingError, Psp, Reference

TIMEOUT_S = 30.0
PIECE = 1 << 16
REPLY_MAX = 16 << 20  # bytes of a page of a thousand charges, its head included


def listed(psp: Psp) -> Iterator[list[ListedCharge]]:
    """Page after page, over one connection. Errors: ListingError, also where the PSP does not answer."""
    first = psp.list("charge")
    with closing(_connection(first)) as connection:
        request: HttpRequest | None = first
        while request is not None:
            charges, cursor = psp.read_list("charge", _body(psp.name, connection, request))
            yield charges
            request = psp.list("charge", cursor) if cursor else None


def found(psps: Mapping[str, Psp], references: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[ListedCharge]]]:
    """For each (PSP, reference) what it says now. A look-up's answer has the shape of a listing."""
    for name, reference in references:
        psp = psps.get(name)
        if psp is not None:
            request = psp.find(Reference("charge", reference))
            with closing(_connection(request)) as connection:
                yield name, psp.read_list("charge", _body(name, connection, request)).charges


class _Bounded(io.RawIOBase):
    """A reply's bytes as they come, in whatever coding: at most REPLY_MAX, within TIMEOUT_S. Errors, then: OSError."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._left = REPLY_MAX
        self._until = time.monotonic() + TIMEOUT_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._raw.readinto(buffer) or 0
        self._left -= count
        if self._left < 0:
            raise OSError(f"its reply is larger than {REPLY_MAX} bytes")
        if time.monotonic() > self._until:
            raise TimeoutError(f"its reply took longer than {TIMEOUT_S:g} s")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_Bounded(self.fp.detach()))


def _connection(request: HttpRequest) -> http.client.HTTPConnection:
    url = urlsplit(request.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_S)
    connection.response_class = _Reply
    return connection


def _body(name: str, connection: http.client.HTTPConnection, request: HttpRequest) -> bytes:
    url = urlsplit(request.url)
    try:
        connection.request(
            request.method, f"{url.path}?{url.query}" if url.query else url.path, None, dict(request.headers)
        )
        reply = connection.getresponse()
        body = b"".join(iter(partial(reply.read, PIECE), b""))  # of one read as much is set aside as it asks for
    except (OSError, http.client.HTTPException) as error:
        raise ListingError(f"{name} does not answer: {error}") from error
    if reply.status != 200:
        raise ListingError(f"{name} answered {reply.status}")
    return body
