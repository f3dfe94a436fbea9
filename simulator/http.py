"""Bytes of a connection → requests → answers → bytes: a small HTTP/1.1 server that can also misbehave.

aiohttp's server took 0.22 ms of CPU for a charge, this one takes half of that, and the simulator shares the machine with the
measured system.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote

import httptools

BODY_MAX = 64 * 1024 * 1024
_PIPELINED_MAX = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, sent in full."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Reset:
    """An answer that breaks off: its first bytes, or none, then RST."""

    answer: Answer | None = None


Handler = Callable[[Request], Awaitable[Answer | Reset]]


class Connection(asyncio.Protocol):
    """A caller's connection. Requests are answered in order, and cancelled when the caller hangs up."""

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.abort()
        except httptools.HttpParserError:
            self._transport.write(_bytes(Answer(400, b'{"error":"not HTTP"}'), closing=True))
            self._transport.close()

    def close(self) -> None:
        self._transport.abort()

    # httptools calls these while it parses

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > BODY_MAX:
            self._transport.abort()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        parameters = dict(parse_qsl(query)) if query else {}
        self._waiting.append(Request(method, unquote(path), parameters, self._headers, b"".join(self._body)))
        self._begin()
        if len(self._waiting) > _PIPELINED_MAX:
            self._transport.abort()
        elif self._answering is None:
            self._answering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            self._send(request, await self._handled(request))
        self._answering = None

    async def _handled(self, request: Request) -> Answer | Reset:
        try:
            return await self._handler(request)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return Answer(500, b'{"error":"the simulator itself failed; its log says why"}')

    def _send(self, request: Request, answer: Answer | Reset) -> None:
        if isinstance(answer, Reset):
            self._reset(answer)
            return
        closing = request.headers.get("connection", "").lower() == "close"
        self._transport.write(_bytes(answer, closing))
        if closing:
            self._transport.close()

    def _reset(self, reset: Reset) -> None:
        if reset.answer:
            whole = _bytes(reset.answer, closing=False)
            self._transport.write(whole[: len(whole) - len(reset.answer.body) // 2])
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


def _bytes(answer: Answer, closing: bool) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    end = "Connection: close\r\n\r\n" if closing else "\r\n"
    kind = f"Content-Type: {answer.content_type}\r\n"
    head = f"{_STATUS_LINES[answer.status]}{kind}Content-Length: {len(answer.body)}\r\n"
    return f"{head}{more}{end}".encode("latin-1") + answer.body


class Server:
    """Listens until closed; closing cuts every connection."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()

    async def listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, host, port, backlog=1024, reuse_address=True)

    def _connect(self) -> Connection:
        return Connection(self._handler, self._connections)

    def close(self) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.close()
