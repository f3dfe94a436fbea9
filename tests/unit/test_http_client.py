"""The one HTTP client of operations: bounded in time, past proxies, over one connection where the server keeps it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from operations.http_client import HttpClient, NoAnswer, http_request

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.connections = 0
        self.asked: list[str] = []
        self.closing = threading.Event()


class _Talk(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            self.server.asked.append(line.decode().split()[1])
            while self.rfile.readline().strip():
                pass
            if self.server.asked[-1] == "/dripping":
                self._drip()
                return
            self.wfile.write(OK)

    def _drip(self) -> None:
        """A byte of a header now and then: each comes well within a socket's own time-out."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-More: ")
        try:
            while not self.server.closing.wait(0.02):
                self.wfile.write(b"1")
        except OSError:
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def test_what_is_asked_again_goes_over_the_same_connection(server: Server) -> None:
    with HttpClient(server.url, 10) as asking:
        assert asking.request("GET", f"{server.url}/one?two=3").json() == {"a": 1}
        assert asking.request("GET", "/four").status == 200
    assert (server.asked, server.connections) == (["/one?two=3", "/four"], 1)


def test_an_answer_that_comes_drop_by_drop_is_given_up(server: Server) -> None:
    with pytest.raises(NoAnswer, match=r"took longer than 0\.3 s"):
        http_request("GET", f"{server.url}/dripping", timeout_s=0.3)


def test_a_proxy_in_the_environment_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert http_request("GET", server.url, timeout_s=10).status == 200


def test_nobody_there_is_one_kind_of_error() -> None:
    with pytest.raises(NoAnswer):
        http_request("GET", "http://127.0.0.1:9/", timeout_s=10)
