"""Replies that never end, in every coding → each reader stops at its bound, and says so."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from consumers.executor import client
from consumers.webhooks.client import WebhookClient
from consumers.webhooks.queue import LeasedDelivery
from operations import http_client
from operations.auditor.engine import psps
from operations.stack.settings import load_settings
from psp.northpay import Northpay
from psp.port import ListingError
from tests.contract.running import wait
from tests.contract.test_calls_over_http import talking_to

MB = 1 << 20
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"

# What is sent first, and then again and again.
REPLIES: dict[str, tuple[bytes, bytes]] = {
    "chunks": (CHUNKED + b"\r\n", CHUNK),
    "small chunks": (CHUNKED + b"\r\n", b"1\r\nx\r\n" * 10_000),
    "packed chunks": (CHUNKED + b"Content-Encoding: gzip\r\n\r\n", CHUNK),
    "no length": (OK + b"\r\n", b" " * 0x10000),
    "a length beyond all": (OK + b"Content-Length: 99999999999\r\n\r\n", b" " * 0x10000),
    "headers": (OK, b"X-More: 1\r\n" * 5000),
    "one header": (OK + b"X-More: ", b"1" * 0x10000),
    "a chunk's extension": (CHUNKED + b"\r\n1;", b"x" * 0x10000),
    "trailers": (CHUNKED + b"\r\n0\r\n", b"X-More: 1\r\n" * 5000),
    "one trailer": (CHUNKED + b"\r\n0\r\nX-More: ", b"1" * 0x10000),
    "news before the answer": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 2000),
}


class Endless(socketserver.ThreadingTCPServer):
    """Sends without end to whoever connects; `sent` bytes were taken from it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, reply: tuple[bytes, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0x10000)
        self.reply = reply
        self.sent = self.open = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Talk(socketserver.BaseRequestHandler):
    server: Endless

    def handle(self) -> None:
        self.server.open += 1
        self.request.recv(0x10000)
        first, more = self.server.reply
        with suppress(OSError):
            self.request.sendall(first)
            while self.server.sent < 100 * MB:
                self.request.sendall(more)
                self.server.sent += len(more)
        self.server.open -= 1


@pytest.fixture(params=REPLIES)
def endless(request: pytest.FixtureRequest) -> Iterator[Endless]:
    with Endless(REPLIES[request.param]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def stops_early(server: Endless, most: int) -> Iterator[None]:
    yield
    wait("the reader has hung up", lambda: server.open == 0)
    assert server.sent <= most, f"{server.sent} bytes were taken"


def test_a_psps_answer_without_end_is_unknown(endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trailer is waited for until the deadline, though no more of it is read."""
    monkeypatch.setattr(client, "HARD_DEADLINE_S", 3.0)
    with stops_early(endless, 16 * MB), talking_to(endless.url) as say:
        assert say(1, "send").startswith("unknown ")


def test_a_merchants_reply_without_end_is_read_to_its_beginning(endless: Endless, tmp_path: Path) -> None:
    limits = {"http_allowed": True, "allowed_networks": (ip_network("127.0.0.0/8"),), "timeout_s": 5}
    settings = load_settings(secret="0" * 32, home=tmp_path, webhooks=limits)

    async def post() -> str:
        caller = WebhookClient(settings)
        outcome = await caller.send(leased(endless.url))
        await caller.close()
        return outcome.reply

    with stops_early(endless, 16 * MB):
        assert len(asyncio.run(post())) <= 500


def leased(url: str) -> LeasedDelivery:
    return LeasedDelivery("d", "endpoint", "e", b"{}", 1, 1, "shop", url, (1,))


def test_a_psps_listing_without_end_is_no_listing(endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound of 2 MB: 16 of small chunks take seconds to read."""
    monkeypatch.setattr(http_client, "ANSWER_MAX", 2 * MB)
    with stops_early(endless, 16 * MB), pytest.raises(ListingError):
        list(psps.listed(Northpay("north", endless.url, "key")))
