"""A merchant's service on loopback: remembers what it got, and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 20


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def always_200(_: Got) -> int:
    return 200


@dataclass
class Receiver:
    """`answer` gives the status for a request; it may also block, and so be slow."""

    port: int
    answer: Callable[[Got], int] = always_200
    got: list[Got] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of its replies

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def bodies(self, name: str = "status") -> list[str]:
        return [got.json["data"][name] for got in self.got]


@contextmanager
def receiving(answer: Callable[[Got], int] = always_200) -> Iterator[Receiver]:
    receiver = Receiver(0, answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            got = Got({name.lower(): value for name, value in self.headers.items()}, body)
            receiver.got.append(got)
            try:
                self.send_response(receiver.answer(got))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"heard")
            except OSError:
                pass  # the sender has given up waiting

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
