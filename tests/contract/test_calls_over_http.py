"""One exchange after the other with PSPs that break HTTP's rules: whose answer is believed, on which connection."""

from __future__ import annotations

import asyncio
import http.client
import queue
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from consumers.executor import client
from consumers.executor.client import PspClient
from consumers.executor.counterparty import PspCounterparty
from consumers.executor.pacing import Pace
from psp.northpay import Northpay
from schemas.envelope import derive_id
from tests.northpay import charge
from tests.simulator.running import wait_for
from topics.runtime.calls.rows import CallReply, LeasedCall
from topics.runtime.shape.consumer import Act, CallKind

CAUSE = derive_id("order", "payments", 0, 1_772_366_400_000)
Answers = Callable[[str, int], Sequence[bytes]]


class OddPsp(socketserver.ThreadingTCPServer):
    """Northpay's address. `answers` gives, for a reference and its place in the row, what goes back at once, and after `go`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.answers = answers
        self.asked = self.connections = self.ended = 0
        self.go = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Talk(socketserver.StreamRequestHandler):
    server: OddPsp

    def handle(self) -> None:
        self.server.connections += 1
        with suppress(OSError):
            self._answer_all()
        self.server.ended += 1

    def _answer_all(self) -> None:
        while line := self.rfile.readline().decode():
            headers = http.client.parse_headers(self.rfile)
            body = self.rfile.read(int(headers.get("Content-Length", "0")))
            reference = orjson.loads(body)["reference"] if body else _asked_for(line)
            self.server.asked += 1
            for number, chunk in enumerate(self.server.answers(reference, self.server.asked)):
                assert number == 0 or self.server.go.wait(20)
                self.wfile.write(chunk)


def _asked_for(line: str) -> str:
    return parse_qs(urlsplit(line.split()[1]).query)["reference"][0]


def http_answer(status: int, body: object) -> bytes:
    text = orjson.dumps(body)
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)


INVALID = http_answer(422, {"error": {"type": "invalid_request_error", "code": "parameter_invalid"}})
NOTHING = http_answer(200, {"data": [], "has_more": False})


def yes(reference: str) -> bytes:
    return http_answer(200, charge(reference))


def found(reference: str) -> bytes:
    return http_answer(200, {"data": [charge(reference)], "has_more": False})


@contextmanager
def talking_to(url: str) -> Iterator[Callable[..., str]]:
    """→ what says a call's number, act and kind to that address and returns the reply's name, with its reason or code."""
    came: queue.SimpleQueue[CallReply | LeasedCall] = queue.SimpleQueue()
    psp = Northpay("north", url, "key")
    sender = PspClient({"north": PspCounterparty(psp)}, {"north": Pace(100, 1000)}, came.put)
    sender.start()

    def say(number: int, act: Act, kind: CallKind = "charge") -> str:
        now = datetime.now(UTC)
        asked = orjson.dumps({"amount": "12.34", "currency": "EUR", "token": "tok_visa"})
        deadline = now + timedelta(hours=1)
        call = LeasedCall(f"{number:032x}", "order-1", kind, "north", asked, deadline, CAUSE, act, 1, False, now)
        sender.submit([call], time.monotonic())
        answer = came.get(timeout=20)
        assert isinstance(answer, CallReply)
        reply = answer.reply
        return " ".join(str(reply[name]) for name in ("reply", "reason", "code") if name in reply)

    try:
        yield say
    finally:
        sender.close()


@contextmanager
def odd_psp(answers: Answers) -> Iterator[OddPsp]:
    with OddPsp(answers) as psp:
        thread = threading.Thread(target=psp.serve_forever, args=(0.02,))
        thread.start()
        yield psp
        psp.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is closed for its age."""
    monkeypatch.setattr(client, "KEEP_ALIVE_S", 60.0)


TWICE = {
    "at once": lambda answer: [answer + answer],
    "a moment later": lambda answer: [answer, answer],
    "the second in two pieces": lambda answer: [answer + answer[:40], answer[40:]],
}


@pytest.mark.parametrize("how", TWICE)
@pytest.mark.parametrize("first", ["refused", "charged"])
def test_an_answer_that_comes_twice_is_nobody_s_the_second_time(how: str, first: str) -> None:
    """The next charge went out on the same connection and was told what was another's: declined, though it was charged."""

    def answers(reference: str, place: int) -> Sequence[bytes]:
        if place > 1:
            return [yes(reference)]
        return TWICE[how](INVALID if first == "refused" else yes(reference))

    with odd_psp(answers) as psp, talking_to(psp.url) as say:
        assert say(1, "send") == {"refused": "declined psp_rejected_request", "charged": "captured"}[first]
        psp.go.set()
        wait_for(lambda: psp.ended == 1)
        assert say(2, "send") == "captured"


def test_an_answer_to_a_question_that_comes_twice_is_nobody_s_the_second_time() -> None:
    """That there is no such charge names none: it would be believed of any."""

    def answers(reference: str, place: int) -> Sequence[bytes]:
        return [NOTHING, NOTHING] if place == 1 else [found(reference)]

    with odd_psp(answers) as psp, talking_to(psp.url) as say:
        assert say(1, "ask") == "not_there"
        psp.go.set()
        assert say(2, "ask") == "captured"
        assert psp.connections == 2, "a question has its own, however long the answer takes to come again"


def test_a_second_answer_that_is_in_time_for_the_next_charge_is_about_none() -> None:
    """A 200 names its own charge."""

    def answers(reference: str, place: int) -> Sequence[bytes]:
        return [yes(f"{1:032x}") + yes(reference)] if place == 2 else [yes(reference)]

    with odd_psp(answers) as psp, talking_to(psp.url) as say:
        assert say(1, "send") == "captured"
        assert say(2, "send") == "unknown reference_mismatch"
        assert say(3, "send") == "captured"


def test_charges_that_go_well_share_a_connection() -> None:
    with odd_psp(lambda reference, _: [yes(reference)]) as psp, talking_to(psp.url) as say:
        assert [say(number, "send") for number in range(3)] == ["captured"] * 3
        assert psp.connections == 1


@pytest.mark.parametrize("act", ["send", "ask"])
def test_a_call_of_a_kind_that_no_psp_takes_is_unknown_and_nothing_is_sent(act: Act) -> None:
    """A refund that was sent as a charge would take the money twice."""
    with odd_psp(lambda reference, _: [yes(reference)]) as psp, talking_to(psp.url) as say:
        assert say(1, act, "refund").startswith("unknown ")
        assert say(2, "send") == "captured"
        assert psp.asked == 1


def test_what_goes_before_an_answer_is_none() -> None:
    early = b"HTTP/1.1 103 EarlyNotification Hints\r\n\r\n"
    with odd_psp(lambda reference, _: [early + yes(reference)]) as psp, talking_to(psp.url) as say:
        assert [say(number, "send") for number in range(2)] == ["captured"] * 2


def test_a_name_that_is_never_found_is_a_connection_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can have been charged: unknown, it would be asked about for a day. So are several silent addresses."""

    class Silence:
        async def resolve(self, *_: object, **__: object) -> list[object]:
            await asyncio.Event().wait()
            return []

        async def close(self) -> None: ...

    monkeypatch.setattr("aiohttp.connector.DefaultResolver", lambda **_: Silence())
    monkeypatch.setattr(client, "CONNECT_S", 0.2)
    with talking_to("http://psp.example") as say:
        assert say(1, "send") == "nothing_happened not_connected"
        assert say(2, "ask") == "unknown not_connected"
