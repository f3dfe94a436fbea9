"""A simulator of one's own: a real process on a free port, with books and a clock in a folder."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from psp.port import HttpRequest

KEYS = {"northpay": "north-key", "southpay": "south-key", "harbour": "harbour-key"}
WEBHOOK_SECRETS = {
    "northpay": "north-webhook-secret",
    "southpay": "south-webhook-secret",
    "harbour": "harbour-webhook-secret",
}
UNASKED = range(20_000, 32_000)  # below those that Linux gives to whoever asks for any
T = TypeVar("T")


def wait_for(question: Callable[[], T | None], limit_s: float = 20.0) -> T:
    """The first answer that is not None or False."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if answer := question():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not so within {limit_s} s")


def free_port() -> int:
    """A port that nobody listens on, and that nobody is given who asks for any: else another process has it before ours."""
    while True:
        port = random.SystemRandom().choice(UNASKED)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RunningSimulator:
    """Started at once; `kill` is kill -9; `start` starts it again on the same books."""

    def __init__(self, folder: Path, webhooks: str = "") -> None:
        self._webhooks = ["--webhooks", webhooks] if webhooks else []
        self.folder = folder
        self.clock = folder / "clock"
        self.bank = folder / "bank"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        argv = [sys.executable, "-m", "simulator", "--port", str(self.port)]
        argv += ["--data", str(self.folder / "data"), "--clock", str(self.clock), *self._webhooks]
        argv += ["--bank", str(self.bank)]
        given = {"SIMULATOR_KEYS": json.dumps(KEYS), "SIMULATOR_WEBHOOK_SECRETS": json.dumps(WEBHOOK_SECRETS)}
        self._process = subprocess.Popen(argv, env={**os.environ, **given})
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the simulator ended"
        try:
            return bool(self.control("GET", "/healthz"))
        except OSError:
            return False

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(timeout=10)

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method), timeout=30) as reply:
            return json.load(reply)

    def clear_faults(self) -> None:
        self.control("PUT", "/control/faults", {"psp": "all", "clear": True, "down": False})


def send(request: HttpRequest, timeout_s: float = 10.0) -> tuple[int, Mapping[str, str], bytes]:
    """The request over a connection of its own. Errors: OSError, http.client.HTTPException."""
    url = urlsplit(request.url)
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)) as connection:
        target = f"{url.path}?{url.query}" if url.query else url.path
        connection.request(request.method, target, request.body or None, dict(request.headers))
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
