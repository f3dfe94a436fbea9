"""Payments on a real database: what is kept, what readers see, and two processes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from consumers.payments import store
from consumers.payments.consumer import build
from operations.cli.timeline import timeline
from operations.stack.servers import Servers
from schemas.events import (
    AnyEvent,
    OrderPlaced,
    PaymentCompleted,
    PaymentRefused,
    PaymentStatusChanged,
    ScreeningRequested,
)
from tests.store.hearing import NOW, Hearing
from tests.unit.payment_cases import captured, cleared, credited, declined, posted, refused, requested, unknown
from topics.runtime.dead_letters.listing import operator_transaction
from topics.runtime.shape.consumer import AnyConsumer, Connection
from topics.runtime.shape.store import Store
from topics.settings import Settings


@pytest.fixture
def payments(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, build(stored))
    yield hearing
    hearing.close()


def placed(payments: Hearing, checkout_id: str = "c1", orders: int = 2, prefix: str = "o") -> list[OrderPlaced]:
    payments.hears(requested(checkout_id, orders=orders, prefix=prefix))
    return [event for event in payments.hears(cleared(checkout_id)) if isinstance(event, OrderPlaced)]


def test_a_payment_from_request_to_completion(payments: Hearing) -> None:
    first, second = placed(payments)
    payments.hears(captured(first), captured(second))
    payments.hears(credited(first), posted(first), credited(second))
    assert not payments.all_said(PaymentCompleted)
    payments.hears(posted(second))
    assert len(payments.all_said(PaymentCompleted)) == 1
    [payment] = payments.rows("SELECT * FROM payment_view")
    assert (payment["status"], payment["is_payment_done"], payment["owner"]) == ("succeeded", True, "shop")
    assert (payment["orders"], payment["orders_succeeded"], payment["sellers"]) == (2, 2, ["s1", "s2"])
    orders = payments.rows("SELECT * FROM order_view WHERE checkout_id = %s ORDER BY position", "c1")
    assert [order["payment_order_id"] for order in orders] == ["o1", "o2"]
    assert {order["payment_order_status"] for order in orders} == {"SUCCESS"}
    assert all(order["wallet_updated"] and order["ledger_updated"] for order in orders)
    assert {(o["gross"], o["fee"], o["net"], o["psp"], o["psp_reference"]) for o in orders} == {
        (1000, 100, 900, "northpay", "np_1")
    }


def test_terms_read_back_are_the_terms_that_were_asked(payments: Hearing) -> None:
    text = 'a "quoted" \\ back\tslash\nline ü 日本'
    request = requested(orders=3, description=text, metadata={"z": text, "a": "1"}, deadline=NOW + timedelta(minutes=5))
    payments.hears(request)
    placed = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    assert [order.payment_order_id for order in placed] == ["o1", "o2", "o3"]
    assert {order.deadline for order in placed} == {NOW + timedelta(minutes=5)}
    assert {(str(o.gross), str(o.fee), str(o.net)) for o in placed} == {("10.00 EUR", "1.00 EUR", "9.00 EUR")}
    [payment] = payments.rows("SELECT description, metadata FROM payment_view")
    assert payment["description"] == text
    assert list(payment["metadata"].items()) == [("z", text), ("a", "1")]


def test_a_story_is_told_of_the_payment_that_has_the_money(payments: Hearing) -> None:
    """The door had claimed both ids for the shop; payments had heard the partner first, by Kafka."""
    settings = payments.settings
    (order,) = placed(payments, "theirs", orders=1, prefix="both-")
    payments.hears(captured(order))
    with closing(Store(settings, "doors")) as doors, doors.transaction() as conn:
        conn.execute("INSERT INTO order_ids VALUES ('both-1', 'ours', 'shop'), ('other-1', 'theirs', 'shop')")
    payments.hears(requested("ours", orders=1, prefix="both-"))
    for given in ("both-1", "theirs", "np_1"):  # the last is its PSP's own reference
        told = timeline(settings, given)
        assert (told.checkout_id, told.order_ids) == ("theirs", ("both-1",))
    refused = timeline(settings, "ours")
    assert refused.order_ids == ()
    assert [moment.what for moment in refused.moments] == ["refused: id_taken"]


def test_a_payment_without_an_end_is_read_wherever_its_server_stands(servers: Servers, payments: Hearing) -> None:
    """The last second of the calendar, read as Berlin's time, is in a year that Python does not have."""
    with psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        name = sql.Identifier(payments.settings.database)
        admin.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Europe/Berlin'").format(name))
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    payments.hears(requested(orders=1, deadline=never))
    [order] = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    assert order.deadline == never
    assert [row["deadline"] for row in payments.rows("SELECT deadline FROM payment_view")] == [never]
    with operator_transaction(payments.settings, "payments") as conn:
        assert conn.execute("SHOW timezone").fetchone() == ("UTC",)


def test_a_whole_life_in_one_batch_is_saved_as_it_ended(payments: Hearing) -> None:
    (only,) = placed(payments, orders=1)
    payments.hears(unknown(only), posted(only), captured(only), credited(only), captured(only))
    [order] = payments.rows("SELECT * FROM order_view")
    assert (order["payment_order_status"], order["wallet_updated"], order["ledger_updated"]) == ("SUCCESS", True, True)
    assert (order["psp"], order["scheme"], order["captured_at"]) == ("northpay", "Visa", NOW)
    assert len(payments.all_said(PaymentCompleted)) == 1


def test_the_history_tells_each_step_with_its_cause(payments: Hearing) -> None:
    first, second = placed(payments)
    payments.hears(captured(first), declined(second, "insufficient_funds"))
    steps = payments.rows("SELECT * FROM history_view ORDER BY id")
    told = [(step["payment_order_id"], step["to_status"], step["detail"]) for step in steps]
    assert told == [
        (None, "received", ""),
        ("o1", "EXECUTING", ""),
        ("o2", "EXECUTING", ""),
        (None, "executing", ""),
        ("o1", "SUCCESS", ""),
        ("o2", "FAILED", "insufficient_funds"),
        (None, "partially_succeeded", ""),
    ]
    assert len({step["event_id"] for step in steps}) == 4


@pytest.mark.parametrize("table", ["history", "refusals"])
def test_the_room_cannot_rewrite_its_history(payments: Hearing, table: str) -> None:
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET detail = ''"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), payments.store.transaction() as conn:
            conn.execute(statement)


def test_a_reader_sees_views_and_no_table(payments: Hearing) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        payments.rows("SELECT token FROM payments")


def test_a_refusal_leaves_a_trace_and_no_payment(payments: Hearing) -> None:
    payments.hears(requested("c1"), requested("c2", owner="rival"))
    [said] = payments.all_said(PaymentRefused)
    assert (said.checkout_id, said.owner, said.code) == ("c2", "rival", "id_taken")
    assert [row["checkout_id"] for row in payments.rows("SELECT * FROM payment_view")] == ["c1"]
    assert [row["code"] for row in payments.rows("SELECT * FROM refusal_view")] == ["id_taken"]


def test_a_request_refused_longer_ago_than_the_inbox_remembers_is_refused_again(payments: Hearing) -> None:
    """Under the same id: a dead letter would hold its key, and enough of them would stop the room."""
    asked = (requested("c1"), requested("c2", owner="rival"))
    payments.hears(*asked)
    with payments.store.transaction() as conn:
        conn.execute("DELETE FROM inbox")
    payments._count = 0  # the same ids once more
    [said] = payments.hears(*asked)
    assert isinstance(said, PaymentRefused)
    assert payments.dead == 0
    assert len(payments.rows("SELECT * FROM refusal_view")) == 1


def test_an_order_id_of_an_older_payment_is_taken(payments: Hearing) -> None:
    payments.hears(requested("c1"))
    payments.hears(requested("c2"), requested("c3", prefix="p"))
    assert [said.checkout_id for said in payments.all_said(PaymentRefused)] == ["c2"]
    assert len(payments.all_said(ScreeningRequested)) == 2


def test_a_checkout_published_twice_under_fresh_ids_is_one_payment(payments: Hearing) -> None:
    payments.hears(requested())
    assert payments.hears(requested()) == []
    assert [type(event) for event in payments.hears(requested(orders=3))] == [PaymentRefused]
    assert payments.dead == 0


def test_a_payment_refused_by_risk_is_kept_as_refused(payments: Hearing) -> None:
    payments.hears(requested())
    said = payments.hears(refused(rule="amount_limit"))
    assert [type(event) for event in said] == [PaymentRefused, PaymentStatusChanged, PaymentCompleted]
    [payment] = payments.rows("SELECT * FROM payment_view")
    assert (payment["status"], payment["orders_failed"], payment["is_payment_done"]) == ("refused", 2, True)


def test_a_contradiction_is_a_dead_letter_and_spoils_nobody_else(payments: Hearing) -> None:
    (first,) = placed(payments, "c1", orders=1)
    (second,) = placed(payments, "c2", orders=1, prefix="p")
    payments.hears(captured(first))
    payments.hears(declined(first), captured(second))
    assert payments.dead == 1
    states = payments.rows("SELECT payment_order_status FROM order_view")
    assert {row["payment_order_status"] for row in states} == {"SUCCESS"}


def test_revenue_is_by_utc_day_currency_seller_and_psp(payments: Hearing) -> None:
    late, early = placed(payments, "c1", prefix="o"), placed(payments, "c2", prefix="p")
    payments.hears(*map(captured, late), after=timedelta(hours=11, minutes=59))
    payments.hears(captured(early[0]), declined(early[1]), after=timedelta(hours=12))
    rows = payments.rows("SELECT * FROM revenue_view ORDER BY day, seller_account")
    told = [(row["day"], row["owner"], row["currency"], row["seller_account"], row["psp"]) for row in rows]
    assert told == [
        (date(2026, 1, 5), "shop", "EUR", "s1", "northpay"),
        (date(2026, 1, 5), "shop", "EUR", "s2", "northpay"),
        (date(2026, 1, 6), "shop", "EUR", "s1", "northpay"),
    ]
    assert {(row["orders"], row["gross"], row["fee"], row["net"]) for row in rows} == {
        (1, Decimal(1000), Decimal(100), Decimal(900))
    }


def meeting_after_load(consumer: AnyConsumer, barrier: threading.Barrier) -> AnyConsumer:
    """Both processes have read before either of them writes; on later tries nobody waits."""
    met = False

    def load(conn: Connection, events: Any, now: Any) -> Any:
        nonlocal met
        state = consumer.load(conn, events, now)
        if not met:
            met = True
            barrier.wait(timeout=20)
        return state

    return replace(consumer, load=load)


RACES: list[tuple[Callable[[], AnyEvent], Callable[[], AnyEvent]]] = [
    (lambda: requested("c1", owner="one"), lambda: requested("c1", owner="two", prefix="p")),  # the checkout
    (lambda: requested("c1", owner="one"), lambda: requested("c2", owner="two")),  # an order
]


@pytest.mark.parametrize("race", RACES)
def test_two_processes_that_race_for_an_id_leave_one_payment(
    stored: Settings, race: tuple[Callable[[], AnyEvent], Callable[[], AnyEvent]]
) -> None:
    barrier = threading.Barrier(2)
    racers = [Hearing(stored, meeting_after_load(build(stored), barrier), name) for name in ("a", "b")]
    threads = [threading.Thread(target=r.hears, args=(event(),)) for r, event in zip(racers, race, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    said = [event for racer in racers for event in racer.said]
    [refusal] = [event for event in said if isinstance(event, PaymentRefused)]
    [winner] = racers[0].rows("SELECT owner FROM payment_view")
    assert refusal.code == "id_taken"
    assert {refusal.owner, winner["owner"]} == {"one", "two"}
    assert sum(isinstance(event, ScreeningRequested) for event in said) == 1
    for racer in racers:
        racer.close()


def test_a_repeat_that_comes_while_the_first_commits_is_no_conflict(
    payments: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first statement of `load` does not see the payment yet, the second sees its orders."""
    payments.hears(requested())
    ask, blind = store._ask_locked, [True]
    monkeypatch.setattr(store, "_ask_locked", lambda conn, ids: ask(conn, [] if blind and blind.pop() else ids))
    assert payments.hears(requested()) == []
    assert not blind


def test_two_processes_that_end_the_same_payment_complete_it_once(stored: Settings) -> None:
    """Wallet and ledger are heard by different processes at the same moment."""
    one, two = Hearing(stored, build(stored), "a"), Hearing(stored, build(stored), "b")
    orders = placed(one, orders=4)
    one.hears(*map(captured, orders))
    threads = [
        threading.Thread(target=one.hears, args=[credited(order) for order in orders]),
        threading.Thread(target=two.hears, args=[posted(order) for order in reversed(orders)]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(one.all_said(PaymentCompleted)) + len(two.all_said(PaymentCompleted)) == 1
    [payment] = one.rows("SELECT is_payment_done FROM payment_view")
    assert payment["is_payment_done"]
    one.close()
    two.close()
