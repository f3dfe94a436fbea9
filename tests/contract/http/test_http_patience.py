"""Requests that never come whole, and operators' long acts: neither makes a PSP or an upstream service wait."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import pytest

from producers import connections, pools
from psp.webhooks import mac
from tests.contract.http.door import Door, asked, open_door, wait_for
from tests.contract.http.test_http_notifications import event
from tests.contract.http.test_http_operators import WHY, act, die
from topics.runtime.shape.store import Store
from topics.settings import PspAccount, Settings

SECRET = "the-secret-of-a-psp"


@pytest.fixture(scope="module")
def busy(http_stack: Settings) -> Iterator[Door]:
    account = PspAccount(
        name="northpay", adapter="northpay", url="http://127.0.0.1:1", api_key="key", webhook_secrets=(SECRET,)
    )
    with open_door(http_stack.model_copy(update={"psps": (account,)})) as door:
        yield door


@pytest.fixture
def store(http_stack: Settings) -> Iterator[Store]:
    found = Store(http_stack, "payments")
    yield found
    found.close()


def told(door: Door, event_id: str) -> int:
    """The answer to a PSP's webhook."""
    body, at = event(event_id), int(time.time())
    signed = {"Northpay-Signature": f"t={at},v1={mac(SECRET, at, body).hex()}"}
    return door.send("POST", "/v1/psp-notifications/northpay", body, signed, key="").status


def test_operators_long_acts_make_nobody_else_wait(busy: Door, http_stack: Settings, store: Store) -> None:
    """As many as the process has threads of its own, and more: PSPs' webhooks took 9 s beside six of them."""
    letters = [die(store, http_stack).letter_id for _ in range(4)]
    many = min(32, (os.cpu_count() or 1) + 4)

    def replay() -> tuple[int, str]:
        reply = act(busy, "/v1/ops/replays", {"room": "payments", "letters": letters, "rate": 1, **WHY})
        return reply.status, reply.json.get("code", "")

    with ThreadPoolExecutor(many) as people:
        under_way = [people.submit(replay) for _ in range(many)]
        wait_for(lambda: busy.get(f"/v1/ops/letters/payments/{letters[0]}").json["state"] != "dead")
        for number in range(3):
            assert told(busy, f"evt_beside_{number}") == 202
            assert busy.post(asked(f"beside-{number}")).status == 202
            endpoint = json.dumps({"url": "https://example.com/hook"}).encode()
            assert busy.send("PUT", f"/v1/webhook-endpoints/beside-{number}", endpoint).status == 201
            assert busy.get("/v1/ops/rooms").status == 200
        assert sum(each.done() for each in under_way) <= many - pools.LONG, "they waited for a long act's end"
        answers = sorted(each.result() for each in under_way)
    assert answers == [(200, "")] * pools.LONG + [(503, "busy")] * (many - pools.LONG)


# What is sent, and the status of the answer, if there is one.
HALVES: dict[str, tuple[bytes, int | None]] = {
    "nothing": (b"", None),
    "line ends": (b"\r\n\r\n", None),
    "half a line": (b"POST /v1/pay", 408),
    "half a head": (b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nX-Slow: ", 408),
    "half a body": (b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", 401),
    "half a webhook": (
        b"POST /v1/psp-notifications/northpay HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        408,
    ),
    "half of its chunks": (
        b"POST /v1/psp-notifications/northpay HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        408,
    ),
    "half a file": (  # with a key
        b"POST /v1/settlement-files/northpay-main HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        408,
    ),
    "a body that nobody reads": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", 200),
    "half of a second request": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea", 200),
}


@pytest.mark.parametrize("what", HALVES)
def test_a_request_that_does_not_come_whole_is_hung_up_on(
    what: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    sent, status = HALVES[what]
    if what == "half a file":
        sent = sent.replace(
            b"Host: x", b"Host: x\r\nAuthorization: Bearer " + door.key_for("hf", "recon:write").encode()
        )
    with closing(socket.create_connection(("127.0.0.1", door.port), timeout=20)) as conn:
        conn.sendall(sent)
        answer = b"".join(iter(lambda: conn.recv(65536), b""))
    assert (int(answer.split()[1]) if answer else None) == status
    if status == 408:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    if what == "half of a second request":
        assert answer.count(b"HTTP/1.1 408") == 1


def test_hundreds_of_halves_are_let_go_and_whole_requests_go_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    halves = [socket.create_connection(("127.0.0.1", door.port), timeout=20) for _ in range(350)]
    for number, conn in enumerate(halves):
        conn.sendall([b"", b"GET /v1/payments HTT"][number % 2])
    assert door.post(asked("beside-halves")).status == 202
    for conn in halves:
        while conn.recv(4096):
            pass
        conn.close()


def test_a_request_that_comes_in_pieces_is_answered(door: Door) -> None:
    pieces = [b"GET /hea", b"lthz HTTP/1.1\r\nHost: ", b"x\r\nConnection: close\r\n\r\n"]
    with closing(socket.create_connection(("127.0.0.1", door.port), timeout=20)) as conn:
        for piece in pieces:
            conn.sendall(piece)
        assert b"".join(iter(lambda: conn.recv(65536), b"")).startswith(b"HTTP/1.1 200")


def without_end(door: Door, first: bytes, more: bytes) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", door.port), timeout=20)) as conn:
        conn.sendall(first)
        sent = 0
        try:
            while sent < 50 << 20:
                conn.sendall(more)
                sent += len(more)
        except OSError:
            return b"hung up"
    return b""


@pytest.mark.parametrize("more", [b"X-More: 1\r\n" * 1000, b"x" * 10_000])
def test_a_head_without_end_is_hung_up_on(door: Door, more: bytes) -> None:
    assert without_end(door, b"GET /healthz HTTP/1.1\r\nX-Long: 1", more) == b"hung up"


def test_a_file_that_moves_on_has_more_time_than_a_request(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for each part of a file: after ten parts, each within it, no more than one has passed."""
    now = [0.0]
    taken = connections.Connection.__new__(connections.Connection)
    taken.loop = SimpleNamespace(time=lambda: now[0])  # type: ignore[assignment]
    taken.cycle = SimpleNamespace(response_complete=False)  # type: ignore[assignment]
    taken._since = 0.0
    for _ in range(10):
        now[0] += connections.REQUEST_S - 1
        taken._give_time(connections.UPLOADED)
    assert now[0] - taken._since < connections.REQUEST_S
    now[0] += connections.REQUEST_S
    taken._give_time(connections.UPLOADED - 1)
    assert now[0] - taken._since >= connections.REQUEST_S, "a trickle is late"
