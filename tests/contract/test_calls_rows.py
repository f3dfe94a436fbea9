"""Calls as rows in a real database: who may act on one, and who may not any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from operations.stack.servers import Servers
from schemas.envelope import EventId, derive_id
from tests.conftest import stores
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import CallReply, LeasedCall, StoredReply
from topics.runtime.shape.consumer import Call, Connection, Ended, Retry
from topics.runtime.shape.store import Store
from topics.settings import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAUSE = derive_id("order", "payments", 0, 1_772_366_400_000)
NOT_THERE = {"reply": "not_there"}
UNKNOWN = {"reply": "unknown", "reason": "timeout"}


@pytest.fixture(scope="module")
def database(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with stores(servers, template, tmp_path_factory.mktemp("calls")) as make:
        yield make()


@pytest.fixture
def store(database: Settings) -> Iterator[Store]:
    """No calls yet."""
    with closing(Store(database, "executor")) as store:
        with store.transaction() as conn:
            conn.execute("DELETE FROM calls")
        yield store


@pytest.fixture
def other(database: Settings) -> Iterator[Store]:
    """A second process's connection."""
    with closing(Store(database, "executor")) as store:
        yield store


def call(number: int, psp: str = "north") -> tuple[Call, EventId, None]:
    return Call(f"{number:032x}", f"order-{number}", "charge", psp, b"{}", NOW + timedelta(hours=1)), CAUSE, None


def due(store: Store, *wanted: tuple[Call, EventId, None]) -> None:
    with store.transaction() as conn:
        calls.save(conn, wanted, NOW)


def lease(store: Store, most: int = 10, now: datetime = NOW) -> list[LeasedCall]:
    with store.transaction() as conn:
        return calls.lease(conn, {"north": most}, now, "me")()


def answer(leased: LeasedCall, reply: dict[str, object]) -> CallReply:
    unknown = leased.act == "send" and reply["reply"] == "unknown"
    return CallReply(leased.id, leased.subject, CAUSE, leased.act, leased.act_no, reply, unknown)


def end_leases(conn: Connection) -> None:
    conn.execute("UPDATE calls SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")


def test_two_processes_never_lease_the_same_call(store: Store, other: Store) -> None:
    due(store, *[call(number) for number in range(10)])
    with store.transaction() as conn:
        mine = calls.lease(conn, {"north": 6}, NOW, "me")()
        theirs = lease(other)
    assert len(mine) == 6
    assert len(theirs) == 4
    assert not {leased.id for leased in mine} & {leased.id for leased in theirs}


def test_nobody_leases_more_than_asked_for_nor_another_psp_s(store: Store) -> None:
    due(store, call(1), call(2), call(3, "south"))
    assert len(lease(store, most=1)) == 1
    assert {leased.psp for leased in lease(store)} == {"north"}
    assert lease(store) == []


def test_a_retry_is_leased_when_it_is_due_and_numbered_on(store: Store) -> None:
    due(store, call(1))
    (first,) = lease(store)
    with store.transaction() as conn:
        calls.record(conn, [answer(first, UNKNOWN)], NOW)
        calls.save(conn, [(Retry(first.id, "ask", 5.0), CAUSE, None)], NOW)
    assert lease(store, now=NOW + timedelta(seconds=4)) == []
    (second,) = lease(store, now=NOW + timedelta(seconds=5))
    assert (second.act, second.act_no, second.ever_unknown, second.first_sent_at) == ("ask", 2, True, NOW)


def test_what_was_given_back_is_due_again_and_was_never_unknown(store: Store) -> None:
    due(store, call(1))
    (leased,) = lease(store)
    with store.transaction() as conn:
        calls.release(conn, [leased])
    (again,) = lease(store)
    assert (again.act, again.act_no, again.ever_unknown) == ("send", 2, False)


def test_a_lost_lease_is_unknown_and_its_late_reply_is_told_apart(store: Store) -> None:
    due(store, call(1))
    (leased,) = lease(store)
    with store.transaction() as conn:
        end_leases(conn)
        assert calls.expire(conn, UNKNOWN, NOW) == 1
    with store.transaction() as conn:
        stored, late = calls.record(conn, [answer(leased, {"reply": "declined", "code": "no"})], NOW)()
    assert stored == []
    with store.transaction() as conn:
        (found,) = calls.take_unapplied(conn, "another")
    ids = {dict(calls.message(found).headers)["ce_id"], dict(calls.late_message(late[0], NOW).headers)["ce_id"]}
    assert len(ids) == 2
    assert b"timeout" in found.value


def test_a_stored_reply_is_found_once_its_recorder_is_late_and_is_the_same_message(store: Store, other: Store) -> None:
    due(store, call(1))
    (leased,) = lease(store)
    with store.transaction() as conn:
        (stored,), _ = calls.record(conn, [answer(leased, NOT_THERE)], NOW)()
    with other.transaction() as conn:
        assert calls.take_unapplied(conn, "another") == []
        end_leases(conn)
    with other.transaction() as conn:
        (found,) = calls.take_unapplied(conn, "another")
        assert calls.take_unapplied(conn, "a third") == []
    assert calls.message(found) == calls.message(stored)


def test_what_the_runtime_has_parked_is_not_found_again(store: Store) -> None:
    due(store, call(1))
    (leased,) = lease(store)
    with store.transaction() as conn:
        stored, _ = calls.record(conn, [answer(leased, NOT_THERE)], NOW)()
        calls.release_parked(conn, stored)
        end_leases(conn)
        assert calls.take_unapplied(conn, "me") == []


def test_an_ended_call_is_never_leased_again(store: Store) -> None:
    due(store, call(1))
    (leased,) = lease(store)
    with store.transaction() as conn:
        calls.record(conn, [answer(leased, NOT_THERE)], NOW)
        calls.save(conn, [(Ended(leased.id, "captured"), CAUSE, None)], NOW)
        calls.save(conn, [(Retry(leased.id, "send", 0.0), CAUSE, None)], NOW)
    assert lease(store, now=NOW + timedelta(days=1)) == []


def test_an_older_reply_s_end_does_not_hide_the_one_after_it(store: Store, other: Store) -> None:
    """A recorder had applied act 1 and died before it said so; another has done act 2 meanwhile, and died in its turn."""
    due(store, call(1))
    (first,) = lease(store)
    with store.transaction() as conn:
        stored, _ = calls.record(conn, [answer(first, UNKNOWN)], NOW)()
        calls.save(conn, [(Retry(first.id, "ask", 0.0), CAUSE, None)], NOW)
    (second,) = lease(other)
    with other.transaction() as conn:
        calls.record(conn, [answer(second, NOT_THERE)], NOW)()
    with store.transaction() as conn:
        calls.release_parked(conn, stored)
        end_leases(conn)
    with store.transaction() as conn:
        assert [found.act_no for found in calls.take_unapplied(conn, "me")] == [2]


def test_a_send_past_its_payment_s_deadline_never_leaves(store: Store, other: Store) -> None:
    late = NOW + timedelta(hours=1)
    due(store, call(1), call(2, "a PSP that left the settings"), call(3))
    with store.transaction() as conn:
        assert end_overdue(conn, NOW) == []
        conn.execute("UPDATE calls SET act = 'ask' WHERE id = %s", [call(3)[0].id])
    asked = lease(store, now=late)
    assert [leased.id for leased in asked] == [call(3)[0].id], "asked about whenever; the others are not leased"
    with store.transaction() as conn:
        ended = end_overdue(conn, late)
        assert end_overdue(conn, late) == []
        rows = conn.execute("SELECT state, send_no, first_sent_at, ever_unknown FROM calls WHERE state <> 'sending'")
        assert set(rows) == {("answered", 0, None, False)}
        end_leases(conn)
    assert {(one.act, one.act_no, orjson.loads(one.value)["reply"]["reason"]) for one in ended} == {
        ("send", 1, "deadline_passed")
    }
    with other.transaction() as conn:  # whoever did it died: it is found, and is the same
        assert {*map(calls.message, calls.take_unapplied(conn, "another"))} == {*map(calls.message, ended)}


def end_overdue(conn: Connection, now: datetime) -> list[StoredReply]:
    never_left = {"reply": "nothing_happened", "reason": "deadline_passed", "retry_after_s": None}
    return calls.end_overdue(conn, never_left, now, NOW, "me")
