"""Messages that failed → parked, tried again in order, dead, replayed: nobody overtakes, nothing is dropped, others go on."""

from __future__ import annotations

import json
import random
import threading
from datetime import timedelta
from typing import Any

import pytest

from consumers.payments.consumer import build as build_payments
from tests.contract.rooms import (
    EXECUTIONS,
    NOON,
    Books,
    Log,
    Process,
    captured,
    event_id,
    headers_of,
    request_body,
    request_headers,
)
from topics.runtime import inbox
from topics.runtime.drain import drain
from topics.runtime.store import Stopped, Store
from topics.settings import Settings

DLQ = "probe.dlq.v1"
CARD = "4111 1111 1111 1111"


def copies(process: Process) -> list[Any]:
    """What was said on the dead-letter topic."""
    return [row for row in process.rows if row.topic == DLQ]


# ── order within a key ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_keeps_its_order_through_parking(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"), log.capture("k", 2), log.capture("free", 1))
    process.apply(log.capture("k", 3), log.capture("free", 2))
    assert (books.effects("k"), books.effects("free")) == ([], [1, 2])
    process.drain()
    assert books.effects("k") == []
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("k") == [1, 2, 3]
    process.apply(log.capture("k", 4))
    assert books.effects("k") == [1, 2, 3, 4]


def test_a_follower_that_fails_in_its_turn_holds_those_behind_it(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    books.breaks("code")
    process.apply(log.capture("k", 1, "transient"), log.capture("k", 2, "permanent"), log.capture("k", 3))
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("k") == [1]
    assert books.letters() == [("done", "told_transient"), ("dead", "told_permanent"), ("parked", None)]
    books.mends("code")
    books.replay()
    process.drain()
    assert books.effects("k") == [1, 2, 3]


@pytest.mark.parametrize("told", ["sql:22012", "nul", "surrogate", "deferred", "oddity"])
def test_a_follower_that_spoils_the_drain_is_put_away_alone(
    told: str, process: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    process.apply(
        log.capture("a", 1, "transient"),
        log.capture("a", 2, told),
        log.capture("a", 3),
        log.capture("b", 1, "transient"),
        log.capture("b", 2),
    )
    books.mends("world")
    process.drain(after_s=6)
    assert (books.effects("a"), books.effects("b")) == ([1], [1, 2])
    assert books.stops() == []


def test_two_processes_drain_each_key_in_order_and_once(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    process.apply(*[log.capture(f"k{n % 40}", n, "transient" if n < 40 else "") for n in range(200)])
    books.mends("world")
    later = NOON + timedelta(seconds=60)

    def empty(one: Process) -> None:
        while drain(one.store, one.consumer, later, limit=3) is not None:
            pass

    racing = [threading.Thread(target=empty, args=[one]) for one in (process, other)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(60)
    process.drain(after_s=60)
    assert [books.effects(f"k{i}") for i in range(40)] == [list(range(i, 200, 40)) for i in range(40)]


def test_a_head_that_another_process_is_trying_makes_nobody_blame_another_letter(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    """The head fails here, and before it is given up somebody else takes it: the next head is innocent."""
    books.breaks("world")
    process.apply(log.capture("bad", 1, "transient"), log.capture("good", 1, "transient"))
    books.run("UPDATE parked SET due_at = due_at - interval '3 s' WHERE key = 'bad'")
    later = NOON + timedelta(seconds=60)
    with other.store.transaction() as theirs:
        lock = "SELECT seq FROM parked WHERE key = 'bad' FOR UPDATE"
        save = process.consumer.save
        attempts = []

        def fail_and_lose_the_head(conn: Any, changes: Any) -> None:
            attempts.append(1)
            if len(attempts) <= 3:
                raise KeyError("told to")
            save(conn, changes)

        consumer = type(process.consumer)(
            process.consumer.room, process.consumer.load, process.consumer.decide, fail_and_lose_the_head
        )
        books.mends("world")
        from topics.runtime import drain as module

        give_up = module._give_up

        def lose(*args: Any) -> Any:
            theirs.execute(lock)
            return give_up(*args)

        module._give_up = lose
        try:
            assert drain(process.store, consumer, later) is not None
        finally:
            module._give_up = give_up
    assert books.letters() == [("parked", "told_transient"), ("done", "told_transient")]
    process.drain(after_s=60)
    assert sorted(books.effects()) == [1, 1]


def test_one_that_spoils_the_drain_of_hundreds_is_found_and_put_away_alone(
    process: Process, books: Books, log: Log
) -> None:
    books.breaks("world")
    heads = [log.capture(f"k{i}", 1, "transient") for i in range(100)]
    process.apply(*heads, log.capture("k70", 2, "sql:22012"), log.capture("k70", 3))
    books.mends("world")
    assert process.drain(after_s=6) <= 2, "it is halved for, not come upon one by one"
    assert len(books.effects()) == 100
    assert books.rows("SELECT state, count(*) FROM parked GROUP BY 1 ORDER BY 1") == [
        ("dead", 1), ("done", 100), ("parked", 1)
    ]  # fmt: skip


# ── the ladder and its end ───────────────────────────────────────────────────────────────────────────────────────────


def test_at_the_ladders_end_the_letter_is_dead_and_a_copy_is_said(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    message = log.capture("k", 1, "transient")
    process.apply(message)
    for pause in (6, 34):
        assert copies(process) == []
        process.drain(after_s=pause)
    assert books.letters() == [("dead", "told_transient")]
    (copy,) = copies(process)
    assert (copy.key, copy.value, tuple(copy.headers[: len(message.headers)])) == (
        message.key,
        message.value,
        message.headers,
    )
    said = dict(copy.headers)
    assert (said["tally_topic"], said["tally_offset"], said["tally_attempts"], said["tally_code"]) == (
        EXECUTIONS.encode(),
        b"0",
        b"3",
        b"told_transient",
    )


def test_nothing_is_tried_before_its_time(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"))
    books.mends("world")
    assert process.drain(after_s=4) == 0
    assert process.drain(after_s=2) == 1
    assert books.effects("k") == [1]


def test_a_dead_letter_holds_its_key_in_its_own_batch_and_after(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2), log.capture("x", 1))
    process.apply(log.capture("k", 3))
    process.drain(after_s=10_000)
    assert (books.effects("k"), books.effects("x")) == ([], [1])
    books.mends("code")
    assert books.replay() == 1
    process.drain()
    assert books.effects("k") == [1, 2, 3]


def test_a_discarded_letter_lets_its_key_go_on(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2))
    books.run("UPDATE parked SET state = 'discarded', ended_at = now() WHERE state = 'dead'")
    process.drain()
    assert books.effects("k") == [2]


def test_replaying_twice_changes_nothing(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"))
    books.mends("code")
    assert (books.replay(), books.replay()) == (1, 0)
    process.drain()
    process.drain()
    assert books.effects("k") == [1]


# ── dead letters copied back ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_copied_back_is_a_replay_once(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    (copy,) = copies(process)
    back = log.again(message, headers=copy.headers)
    process.apply(back, log.again(back))
    process.drain()
    assert books.rows("SELECT state, replays, attempts FROM parked") == [("dead", 1, 2)]
    books.mends("code")
    process.apply(log.again(back))
    process.drain()
    assert books.effects("k") == []
    newer = copies(process)[-1]
    process.apply(log.again(message, headers=newer.headers))
    process.drain()
    assert books.effects("k") == [1]
    process.apply(log.again(message, headers=newer.headers), log.again(back))
    process.drain()
    assert books.effects("k") == [1]


def test_a_dead_letter_copied_back_without_headers_is_a_replay_once(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    books.mends("code")
    process.apply(log.again(message, headers=()))
    process.drain()
    assert books.effects("k") == [1]
    process.apply(log.again(message, headers=()), log.again(message, headers=()))
    process.drain()
    assert books.effects("k") == [1]
    assert books.letters() == [("done", "told_permanent")]


def test_a_redelivery_of_a_dead_event_is_a_duplicate_and_no_replay(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    message = log.capture("k", 1, "permanent")
    process.apply(message)
    books.mends("code")
    (applied,) = process.apply(log.again(message))
    process.drain()
    assert (applied.duplicates, applied.revived, books.effects("k")) == (1, 0, [])


def test_an_unreadable_record_copied_back_is_known_by_its_letter(process: Process, books: Books, log: Log) -> None:
    process.apply(log.record(b"garbage", key=b"k", headers=(("a", b"b"),)))
    (copy,) = copies(process)
    (applied,) = process.apply(log.record(b"garbage", key=b"k", headers=copy.headers))
    assert applied.revived == 1
    process.drain()
    assert books.rows("SELECT state, attempts FROM parked") == [("dead", 2)]


def test_a_letter_that_names_another_message_revives_nothing(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(log.capture("victim", 1, "permanent"), log.capture("mine", 1))
    (copy,) = copies(process)
    stolen = [pair for pair in copy.headers if pair[0].startswith("tally_")]
    mine = log.capture("mine", 1)
    (applied,) = process.apply(log.again(mine, headers=(*mine.headers, *stolen)))
    assert (applied.revived, books.letters()) == (0, [("dead", "told_permanent")])


def test_a_letters_claim_outlives_the_inbox(process: Process, books: Books, log: Log) -> None:
    """Dead for longer than the inbox remembers: copied back, it is still a replay and not a second letter."""
    books.breaks("code")
    old, done = log.capture("k", 1, "permanent"), log.capture("x", 1)
    process.apply(old, done)
    books.run("UPDATE inbox SET claimed_at = now() - interval '61 days'")
    with process.store.transaction() as conn:
        inbox.trim(conn)
    assert books.rows("SELECT id::text FROM inbox") == [(event_id("k", 1),)]
    books.mends("code")
    process.apply(log.again(old, headers=copies(process)[0].headers))
    process.drain()
    assert books.effects("k") == [1]


@pytest.mark.parametrize("discarded", [True, False])
def test_what_was_closed_stays_closed_longer_than_the_inbox_remembers(
    discarded: bool, process: Process, books: Books, log: Log
) -> None:
    """Its repeat is no new letter (the room could not put it away a second time, and stopped), and takes no effect."""
    unreadable = log.record(b"{", key=b"k", headers=headers_of(captured("k", 1), event_id("k", 1)))
    process.apply(unreadable)
    (copy,) = copies(process)
    books.run("UPDATE parked SET state = %s, ended_at = now()", "discarded" if discarded else "done")
    books.run("UPDATE inbox SET claimed_at = now() - interval '61 days'")
    with process.store.transaction() as conn:
        inbox.trim(conn)
    process.apply(log.again(unreadable), log.again(unreadable, headers=copy.headers), log.capture("x", 1))
    assert books.effects() == [1]
    assert books.stops() == []
    assert len(books.letters()) == 1


# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_too_many_faults_of_our_own_stop_the_room_for_all_its_processes_until_it_is_lifted(
    process: Process, other: Process, books: Books, log: Log
) -> None:
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "permanent" if i % 2 else "bug") for i in range(20)])
    assert books.stops() == []
    process.apply(log.capture("k20", 1, "permanent"))
    assert books.stops() == ["too_many_faults"]
    fine = log.capture("fine", 1)
    for one in (process, other):
        with pytest.raises(Stopped):
            one.apply(fine)
        with pytest.raises(Stopped):
            one.drain(after_s=60)
    assert books.effects() == []
    books.mends("code")
    books.lift()
    process.apply(fine)
    assert books.effects("fine") == [1]
    books.breaks("code")
    process.apply(log.capture("k21", 1, "permanent"))
    assert books.stops() == [], "a lift forgives what was before it"


def test_the_limit_is_one_in_a_hundred_of_many(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.begin((EXECUTIONS, 0))
    books.run("UPDATE positions SET messages = 1000000")
    process.apply(*[log.capture(f"k{i}", 1, "permanent") for i in range(100)])
    assert books.stops() == []
    process.apply(log.capture("k100", 1, "permanent"))
    assert books.stops() == ["too_many_faults"]


def test_old_faults_do_not_count(process: Process, books: Books, log: Log) -> None:
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "permanent") for i in range(20)])
    books.run("UPDATE positions SET messages = messages + 10000")
    process.apply(*[log.capture(f"m{i}", 1, "permanent") for i in range(20)])
    assert books.stops() == []


def test_neither_the_worlds_failures_nor_replays_count_as_our_faults(process: Process, books: Books, log: Log) -> None:
    books.breaks("world")
    books.breaks("code")
    process.apply(*[log.capture(f"k{i}", 1, "transient") for i in range(40)])
    process.apply(*[log.capture(f"m{i}", 1, "permanent") for i in range(15)])
    for _ in range(3):
        books.replay()
        process.drain()
    assert books.stops() == []


# ── what cannot be read ──────────────────────────────────────────────────────────────────────────────────────────────

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
    "megabytes": (b"k", b" " * 3_000_000, GOOD, "malformed"),
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


def test_digits_that_only_look_like_a_card_number_are_tried_again_as_they_were(
    process: Process, books: Books, log: Log
) -> None:
    """An order's id may be sixteen digits; without its value the message could never take effect."""
    books.breaks("world")
    process.apply(log.capture("4111111111111111", 1, "transient"))
    books.mends("world")
    process.drain(after_s=6)
    assert books.effects("4111111111111111") == [1]


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
        screened = {row.key for row in payments.rows if row.topic == "screenings.v1"}
        assert screened >= {b"honest-1", b"honest-2"}
    finally:
        payments.store.close()
