"""Calls to PSPs and webhooks are leased by one machine: what holds of a lease holds of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.webhooks import queue
from consumers.webhooks import store as webhooks
from consumers.webhooks.decide import Delivery, Endpoint
from schemas.envelope import derive_id
from topics.runtime.calls import rows as calls
from topics.runtime.shape.consumer import Call
from topics.runtime.shape.store import Store
from topics.settings import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAUSE = derive_id("order", "payments", 0, 1_772_366_400_000)
UNKNOWN = {"reply": "unknown", "reason": "lease_expired"}


class Rows:
    """One row that is due, and what senders do with it."""

    room: str
    table: str

    def __init__(self, store: Store) -> None:
        self.store = store

    def row(self, column: str) -> Any:
        with self.store.transaction() as conn:
            return conn.execute(f"SELECT {column} FROM {self.table}").fetchone()[0]  # type: ignore[index]

    def run_out(self) -> None:
        with self.store.transaction() as conn:
            conn.execute(f"UPDATE {self.table} SET lease_until = clock_timestamp() - interval '1 s'")


class Calls(Rows):
    room, table, number = "executor", "calls", "act_no"

    def due(self) -> None:
        call = Call("a" * 32, "order-1", "charge", "north", b"{}", NOW + timedelta(hours=1))
        with self.store.transaction() as conn:
            calls.save(conn, [(call, CAUSE, None)], NOW)

    def lease(self) -> Sequence[Any]:
        with self.store.transaction() as conn:
            return calls.lease(conn, {"north": 9}, NOW, "me")()

    def release(self, leased: Sequence[Any]) -> None:
        with self.store.transaction() as conn:
            calls.release(conn, leased)

    def expire(self) -> int:
        with self.store.transaction() as conn:
            return calls.expire(conn, UNKNOWN, NOW)

    def record(self, leased: Sequence[Any]) -> None:
        [one] = leased
        answer = calls.CallReply(
            one.id, one.subject, one.cause_event_id, one.act, one.act_no, {"reply": "captured"}, False
        )
        with self.store.transaction() as conn:
            calls.record(conn, [answer], NOW)


class Deliveries(Rows):
    room, table, number = "webhooks", "deliveries", "attempt_no"

    def due(self) -> None:
        endpoint = Endpoint("hook", "shop", "https://a.example/", ("*",), (1,), 1, False, NOW)
        delivery = Delivery(CAUSE, "hook", "c1", CAUSE, "payment.completed", b"{}", "due", NOW)
        with self.store.transaction() as conn:
            webhooks.save(conn, [endpoint, delivery])

    def lease(self) -> Sequence[Any]:
        with self.store.transaction() as conn:
            return queue.lease(conn, {}, 9, 9, NOW)

    def release(self, leased: Sequence[Any]) -> None:
        with self.store.transaction() as conn:
            queue.release(conn, leased)

    def expire(self) -> int:
        with self.store.transaction() as conn:
            return queue.expire(conn, NOW)

    def record(self, leased: Sequence[Any]) -> None:
        [one] = leased
        attempt = queue.DeliveryAttempt(one.delivery_id, one.attempt_no, NOW, 5, 200, None, "", "delivered", NOW)
        with self.store.transaction() as conn:
            queue.record(conn, [attempt], NOW)


@pytest.fixture(params=[Calls, Deliveries])
def rows(request: pytest.FixtureRequest, stored: Settings) -> Iterator[Calls | Deliveries]:
    with closing(Store(stored, request.param.room)) as store:
        rows = request.param(store)
        rows.due()
        yield rows


def test_a_leased_row_is_nobody_elses_and_each_lease_has_the_next_number(rows: Calls | Deliveries) -> None:
    leased = rows.lease()
    assert (len(leased), rows.lease(), rows.row("state"), rows.row(rows.number)) == (1, [], "sending", 1)
    rows.release(leased)
    assert (rows.row("state"), rows.row("lease_until"), rows.row("due_at")) == ("due", None, NOW)
    assert len(rows.lease()) == 1
    assert rows.row(rows.number) == 2


def test_whoever_comes_after_the_lease_was_taken_changes_nothing(rows: Calls | Deliveries) -> None:
    late = rows.lease()
    rows.release(late)
    rows.lease()
    before = rows.row("state"), rows.row("lease_until")
    rows.record(late)
    rows.release(late)
    assert (rows.row("state"), rows.row("lease_until")) == before == ("sending", before[1])


def test_a_lease_that_ran_out_is_over_once_and_what_it_brought_later_decides_nothing(rows: Calls | Deliveries) -> None:
    late = rows.lease()
    assert rows.expire() == 0
    rows.run_out()
    assert (rows.expire(), rows.expire()) == (1, 0)
    ended = rows.row("state")
    rows.record(late)
    assert rows.row("state") == ended != "sending"
