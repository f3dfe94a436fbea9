"""A caller's connection → requests, with a limit of time for each and a limit of size for its headers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producers.problems import Problem

REQUEST_S = 30.0  # from the connection's beginning, or a request's first byte, to the request's last byte
HEAD_MAX = 64 * 1024
UPLOADS = "/v1/settlement-files/"  # bodies of any size: there each UPLOADED bytes have REQUEST_S
UPLOADED = 1 << 20


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits: uvicorn waits for ever for the rest of a request, and takes headers of any size."""

    _since: float | None = None  # loop time at which the unfinished request, or the connection, began
    _in_head = False
    _head = 0  # bytes of the unfinished request's headers so far
    _is_upload = False
    _uploaded = 0  # bytes since `_since`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._since is None:
            self._since = self.loop.time()
        super().data_received(data)
        if self._is_upload:
            self._give_time(len(data))
        if self._in_head:
            self._head += len(data)
            if self._head > HEAD_MAX:
                self._refuse("head_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._since = self.loop.time()
        self._in_head = True
        self._head = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._is_upload = self.cycle is not None and self.cycle.scope["path"].startswith(UPLOADS)
        self._uploaded = 0

    def _give_time(self, received: int) -> None:
        """An upload that moves on is not late, until it is answered."""
        self._uploaded += received
        if self._since is not None and self._uploaded >= UPLOADED and not self.cycle.response_complete:
            self._since = self.loop.time()
            self._uploaded = 0

    def on_message_complete(self) -> None:
        self._since = None
        self._is_upload = False
        super().on_message_complete()

    def hang_up_if_late(self) -> None:
        """Close the connection if its request is late. Called regularly: a timer for each request would cost more."""
        if self._since is None or self.loop.time() - self._since < REQUEST_S or self.transport.is_closing():
            return
        begun = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (begun and self._in_head):
            return  # an earlier request of this connection is answered first
        if self._in_head or (begun and not self.cycle.response_started):
            self._refuse("request_timeout")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for bytes that are no HTTP."""
        self._refuse("invalid_request")

    def _refuse(self, code: str) -> None:
        """Answer with a problem document and close the connection."""
        problem = Problem(code)
        body = problem.body()
        headers: list[tuple[bytes, Any]] = [
            *problem.all_headers(),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        status = HTTPStatus(problem.status)
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % header for header in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
