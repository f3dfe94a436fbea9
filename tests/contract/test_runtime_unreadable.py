"""Records that cannot be read → dead letters with a reason, in every shape that an upstream may invent; others go on."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from consumers.payments.consumer import build as build_payments
from schemas.envelope import digest
from tests.contract.rooms import (
    Books,
    Log,
    Process,
    request_body,
    request_headers,
)
from tests.contract.test_runtime_letters import copies
from topics.runtime.shape.store import Store
from topics.settings import Settings

CARD = "4111 1111 1111 1111"


GOOD = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"0190aaaa-0000-8000-8000-000000000001"),
    ("ce_type", b"tallystick.PaymentCaptured.v1"),
)


def without(name: str, *more: tuple[str, bytes | None]) -> tuple[tuple[str, bytes | None], ...]:
    return (*[pair for pair in GOOD if pair[0] != name], *more)


UNREADABLE: dict[str, tuple[bytes | None, bytes | None, Any, str]] = {
    "garbage": (b"k", b"\xff\xfe\0garbage", GOOD, "malformed"),
    "not JSON": (b"k", b"{", GOOD, "malformed"),
    "another event": (b"k", b"{}", GOOD, "malformed"),
    "no headers": (b"k", b"{}", (), "bad_headers"),
    "no id": (b"k", b"{}", without("ce_id"), "bad_headers"),
    "an id that is none": (b"k", b"{}", without("ce_id", ("ce_id", b"x")), "bad_headers"),
    "an id that is not text": (b"k", b"{}", without("ce_id", ("ce_id", b"\xff" * 36)), "bad_headers"),
    "an id without a value": (b"k", b"{}", without("ce_id", ("ce_id", None)), "bad_headers"),
    "another envelope": (b"k", b"{}", without("ce_specversion", ("ce_specversion", b"2.0")), "bad_headers"),
    "a type with NUL": (b"k", b"{}", without("ce_type", ("ce_type", b"a\0b")), "unknown_type"),
    "a type unheard of": (b"k", b"{}", without("ce_type", ("ce_type", b"com.example.Thing")), "unknown_type"),
    "a future version": (
        b"k",
        b"{}",
        without("ce_type", ("ce_type", b"tallystick.PaymentCaptured.v2\0")),
        "unsupported_version",
    ),
    "no value": (b"k", None, GOOD, "null_value"),
    "no key": (None, b"{}", GOOD, "null_key"),
    "a body in place of the key": (random.Random(7).randbytes(4096), b"{}", GOOD, "malformed"),
    "a letter's number beyond all numbers": (
        b"k",
        b"{}",
        (*GOOD, ("tally_letter", GOOD[1][1]), ("tally_attempts", b"9" * 5000)),
        "malformed",
    ),
    "headers in the way": (b"k", b"{}", (*GOOD, ("traceparent", b"\xff\0"), ("", b""), ("x", None)), "malformed"),
    "megabytes of headers": (b"k", b"{}", (*GOOD, ("x", b"x" * 3_000_000)), "malformed"),
    "megabytes": (b"k", b" " * 3_000_000, GOOD, "too_large"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_a_dead_letter_with_a_reason_and_holds_up_nobody(
    what: str, process: Process, books: Books, log: Log
) -> None:
    key, value, headers, code = UNREADABLE[what]
    process.apply(
        log.capture("k", 1),
        log.record(value, key=key, headers=headers),
        log.capture("k", 2),
    )
    assert books.effects("k") == [1, 2]
    assert books.letters() == [("dead", code)]
    (copy,) = copies(process)
    assert dict(copy.headers)["tally_code"] == code.encode()
    ((kept,),) = books.rows("SELECT length(value) + length(headers) FROM parked")
    assert (kept or 0) < 10_000, "what is too large is not kept"
    size = len(copy.value or b"") + sum(len(name) + len(content or b"") for name, content in copy.headers)
    assert size < 2_000_000, "no producer of ours would take it"
    process.drain(after_s=100_000)
    books.replay()
    process.drain()
    assert [state for state, _ in books.letters()] == ["dead"]


def test_a_key_that_is_not_the_events_own_is_refused(process: Process, books: Books, log: Log) -> None:
    message = log.capture("k", 1)
    process.apply(log.again(message, key=b"other"), log.capture("other", 1), log.capture("k", 2))
    assert books.letters() == [("dead", "wrong_key")]
    assert (books.effects("other"), books.effects("k")) == ([1], [2])


def test_a_parked_letter_of_a_topic_that_is_gone_is_a_dead_letter(
    process: Process, settings: Settings, books: Books, log: Log
) -> None:
    """An upstream was taken out of the settings while a message of its own waited."""
    books.breaks("world")
    process.apply(log.request("c", 1, topic="payment-requests.shop.v1", description="transient"))
    assert books.letters() == [("parked", "told_transient")]
    process.store.upstreams = frozenset()
    process.drain(after_s=60)
    assert books.letters() == [("dead", "unknown_topic")]


def test_a_refused_card_number_is_not_kept(process: Process, books: Books, log: Log) -> None:
    body = json.dumps({"card": CARD}).encode()
    process.apply(log.record(body, key=b"k", headers=GOOD))
    ((value, error),) = books.rows("SELECT value, error FROM parked")
    (copy,) = copies(process)
    for kept in (bytes(value), error.encode(), copy.value, repr(copy.headers).encode()):
        assert b"4111" not in kept
        assert b"1111 1111" not in kept


def test_a_refused_card_number_cannot_be_found_by_guessing(process: Process, books: Books, log: Log) -> None:
    """Who knows all but the number would hash one after the other: what is kept is keyed by the installation's secret."""
    body, key = json.dumps({"card": CARD}).encode(), b"k"
    record = log.record(body, key=key, headers=GOOD)
    process.apply(record)
    guessed = digest(b"\1" + key, body)
    kept = repr(books.rows("SELECT * FROM parked") + books.rows("SELECT * FROM inbox") + [copies(process)])
    assert guessed not in kept
    (stored,) = books.rows("SELECT hash::text FROM parked")
    assert stored in books.rows("SELECT hash::text FROM inbox")
    process.apply(log.again(record))
    assert len(books.letters()) == 1, "the same record is still known as the same"


def test_a_card_number_in_a_key_or_a_header_is_not_kept_either(process: Process, books: Books, log: Log) -> None:
    for name, key, more in (("key", CARD.encode(), ()), ("header", b"k", (("note", CARD.encode()),))):
        process.apply(log.record(f"no JSON, {name}".encode(), key=key, headers=(*GOOD, *more)))
    rows = books.rows("SELECT key, value, headers, error FROM parked")
    assert len(rows) == 2
    said = [(copy.key, copy.value, list(copy.headers)) for copy in copies(process)]
    for kept in (
        repr([[bytes(part) if isinstance(part, memoryview) else part for part in row] for row in rows]),
        repr(said),
    ):
        assert "1111 1111" not in kept


def test_digits_that_only_look_like_a_card_number_are_tried_again_as_they_were(
    process: Process, books: Books, log: Log
) -> None:
    """An order's id may be sixteen digits; without its value the message could never take effect."""
    books.breaks("world")
    process.apply(log.capture("4111111111111111", 1, "transient"))
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("4111111111111111") == [1]


def test_nobody_looks_into_a_request_that_is_larger_than_any(process: Process, books: Books, log: Log) -> None:
    """900 kB of digits and spaces, in which a search for card numbers took hours."""
    value = b"4 " * 450_000
    process.apply(
        log.record(value, key=b"c", headers=request_headers("large"), topic="payment-requests.shop.v1"),
        log.request("c", 1, topic="payment-requests.shop.v1"),
    )
    assert books.letters() == [("dead", "too_large")]
    assert books.effects("c") == [1], "it holds no key"
    ((kept, offset, headers),) = books.rows("SELECT value, kafka_offset, headers FROM parked")
    assert json.loads(kept) == {"redacted": "too_large", "hash": json.loads(kept)["hash"], "bytes": len(value)}
    assert (offset, b"large" in bytes(headers)) == (0, True), "by which its sender finds it in Kafka"


# ── a hostile upstream, and the real payments room ───────────────────────────────────────────────────────────────────


def hostile() -> list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]]:
    """A hundred records, each broken in its own way."""
    found: list[tuple[bytes | None, bytes | None, Any]] = []
    for index in range(20):
        id_ = f"h{index}"
        headers = request_headers(id_)
        for field in (f"x{index}\0", "\ud800", CARD, "a" * 3000):
            body = {**request_body(id_), field: 1}
            found.append((id_.encode(), json.dumps(body).encode(), request_headers(f"{id_}-{len(found)}")))
        found.append((id_.encode(), b'{"checkout_id": "%s"' % id_.encode() + b"[" * 2000, headers))
    amounts = ["1e999999999", "9" * 400, "NaN", "0x10", "١٢", "1\0", "-1", "", "1.001"]
    for index, amount in enumerate(amounts):
        orders = [{"payment_order_id": "o", "seller_account": "s", "amount": amount, "currency": "EUR"}]
        body = request_body(f"a{index}", payment_orders=orders)
        found.append((f"a{index}".encode(), json.dumps(body).encode(), request_headers(f"a{index}")))
    for index, change in enumerate(
        ({"deadline": "9999-12-31T23:59:59-23:59"}, {"metadata": {"\0": "\0"}}, {"owner": "\0"}, {"owner": "o" * 500})
    ):
        body = {**request_body(f"d{index}"), **change}
        found.append((f"d{index}".encode(), json.dumps(body).encode(), request_headers(f"d{index}")))
    found += [(b"\xff", b"\xff", ()), (None, None, ()), (b"k", None, request_headers("k")), (b"", b"{}", ())]
    return found


def test_a_hundred_garbage_records_of_one_upstream_hold_up_nobody(settings: Settings, log: Log) -> None:
    """The real payments room: none of it counts as our fault, the neighbours' requests are taken."""
    payments = Process(settings, build_payments(settings))
    payments.store = Store(settings, "payments")
    topic = "payment-requests.shop.v1"
    batch = [log.record(value, key=key, headers=headers, topic=topic) for key, value, headers in hostile()]
    batch.insert(50, log.request("honest-1", topic=topic))
    batch.append(log.request("honest-2", owner="web"))
    assert len(batch) > 100
    try:
        payments.apply(*batch)
        with payments.store.transaction() as conn:
            assert conn.execute("SELECT code, error, value FROM parked WHERE fault_at IS NOT NULL").fetchall() == []
            assert conn.execute("SELECT count(*) FROM stops").fetchone() == (0,)
        screened = {record.key for record in payments.said if record.topic == "screenings.v1"}
        assert screened >= {b"honest-1", b"honest-2"}
    finally:
        payments.store.close()
