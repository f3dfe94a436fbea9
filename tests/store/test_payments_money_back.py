"""Captures, voids, refunds and disputes on a real database: what is kept, what readers see, and what nobody pays for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from consumers.payments import store as payment_rows
from consumers.payments.consumer import build
from operations.stack.settings import AllSettings
from schemas.events import AnyEvent, OrderPlaced, PaymentCompleted
from schemas.money_back import OperationStatusChanged, RefundPlaced, RefundStatusChanged
from tests.store.hearing import NOW, Hearing
from tests.unit.money_back_cases import (
    ask_capture,
    ask_refund,
    ask_void,
    authorised,
    capture_reversed,
    in_ledger,
    in_wallet,
    inquiry,
    opened,
    part_captured,
    refunded,
    voided,
    won,
)
from tests.unit.payment_cases import captured, cleared, credited, posted, requested
from topics.runtime.shape.store import Store


@pytest.fixture
def payments(stored: AllSettings) -> Iterator[Hearing]:
    hearing = Hearing(stored, build(stored))
    yield hearing
    hearing.close()


def placed(payments: Hearing, **more: Any) -> OrderPlaced:
    payments.hears(requested(orders=1, **more))
    [order] = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    return order


def amounts(payments: Hearing) -> tuple[str, int, int, int, int]:
    [row] = payments.rows("SELECT * FROM order_amount_view")
    return (
        row["capture"],
        row["amount_captured"],
        row["amount_capturable"],
        row["amount_refunded"],
        row["amount_disputed"],
    )


def test_a_manual_order_from_authorisation_to_void_event_by_event(payments: Hearing) -> None:
    order = placed(payments, capture="manual")
    assert order.capture == "manual"
    assert amounts(payments) == ("manual", 0, 0, 0, 0)
    payments.hears(authorised(order))
    assert amounts(payments) == ("manual", 0, 1000, 0, 0)
    payments.hears(ask_capture("k1", "4.00"))
    assert amounts(payments) == ("manual", 0, 600, 0, 0)
    payments.hears(part_captured(order, "k1", 400))
    payments.hears(in_wallet(order, 360, "k1"))
    payments.hears(in_ledger(order, 400, "k1"))
    assert amounts(payments) == ("manual", 400, 600, 0, 0)
    payments.hears(ask_void("v1"))
    payments.hears(voided(order, "v1", 600))
    assert amounts(payments) == ("manual", 400, 0, 0, 0)
    [row] = payments.rows("SELECT * FROM order_view")
    assert (row["payment_order_status"], row["detail"], row["wallet_updated"], row["ledger_updated"]) == (
        "SUCCESS",
        "",
        True,
        True,
    )
    assert [one.status for one in payments.all_said(PaymentCompleted)] == ["succeeded"]
    assert payments.dead == 0


def test_refunds_disputes_and_reversals_of_an_automatic_order(payments: Hearing) -> None:
    order = placed(payments)
    payments.hears(captured(order), credited(order), posted(order))
    assert amounts(payments) == ("automatic", 1000, 0, 0, 0)
    payments.hears(ask_refund("r1", "3.00", reason="broken"), ask_refund("r2", "8.00"))
    assert [one.refund_id for one in payments.all_said(RefundPlaced)] == ["r1"]
    payments.hears(in_wallet(order, 270, "r1", "refunded"))  # before the executor is heard
    payments.hears(refunded(order, "r1", 300))
    payments.hears(in_wallet(order, 180, "dp_1.1", "chargeback_opened"))
    payments.hears(inquiry(order, 200))
    payments.hears(opened(order, 200))
    assert amounts(payments) == ("automatic", 1000, 0, 300, 200)
    payments.hears(won(order, 200))
    payments.hears(capture_reversed(order, None, 1000))
    assert amounts(payments) == ("automatic", 0, 0, 300, 0)
    [refund] = payments.rows("SELECT * FROM operation_view WHERE kind = 'refund'")
    assert (refund["reason"], refund["status"], refund["wallet_updated"], refund["ledger_updated"]) == (
        "broken",
        "succeeded",
        True,
        False,
    )
    [dispute] = payments.rows("SELECT * FROM dispute_view")
    assert (dispute["status"], dispute["stage"], dispute["fee"], dispute["reason"]) == ("won", 1, 1500, "fraudulent")
    assert dispute["fee_currency"] == "EUR"
    [refusal] = payments.rows("SELECT * FROM operation_refusal_view")
    assert (refusal["operation_id"], refusal["code"]) == ("r2", "exceeds_refundable")
    steps = payments.rows("SELECT what, to_status FROM operation_history_view ORDER BY id")
    assert [(step["what"], step["to_status"]) for step in steps] == [
        ("refund", "processing"),
        ("refund", "succeeded"),
        ("dispute", "inquiry"),
        ("dispute", "opened"),
        ("dispute", "won"),
        ("capture", "reversed"),
    ]
    assert payments.dead == 0


def test_a_whole_life_in_one_batch_is_what_it_is_in_many(payments: Hearing) -> None:
    order = placed(payments, capture="manual")
    life: list[AnyEvent] = [
        authorised(order),
        ask_capture("k1", "10.00"),
        part_captured(order, "k1", 1000, final=True),
        in_wallet(order, 900, "k1"),
        in_ledger(order, 1000, "k1"),
        ask_refund("r1", "10.00"),
        refunded(order, "r1", 1000),
    ]
    payments.hears(*life)
    assert amounts(payments) == ("manual", 1000, 0, 1000, 0)
    [row] = payments.rows("SELECT * FROM order_view")
    assert (row["payment_order_status"], row["detail"]) == ("SUCCESS", "refunded")
    before = len(payments.said)
    payments.hears(*life[1:])  # under other event ids
    assert payments.said[before:] == []
    assert [step["to_status"] for step in payments.rows("SELECT * FROM operation_history_view ORDER BY id")] == [
        "processing",
        "succeeded",
        "processing",
        "succeeded",
    ]


def test_a_new_checkout_and_a_refund_of_it_may_come_in_one_batch(payments: Hearing) -> None:
    payments.hears(requested(orders=1), ask_refund("r1", "1.00"))
    assert [one.code for one in payments.all_said(RefundStatusChanged)] == ["not_captured"]


def test_one_id_for_two_payments_is_placed_once(stored: AllSettings) -> None:
    """Two processes at once, each with its own payment: one is told that the id is taken."""
    one, two = Hearing(stored, build(stored), "a"), Hearing(stored, build(stored), "b")
    for checkout, prefix in (("c1", "o"), ("c2", "p")):
        one.hears(requested(checkout, orders=1, prefix=prefix, owner=checkout))
        [order] = [event for event in one.hears(cleared(checkout)) if isinstance(event, OrderPlaced)]
        one.hears(captured(order))
    asks = [
        (one, ask_refund("r1", "1.00", "o1", checkout_id="c1", owner="c1")),
        (two, ask_refund("r1", "1.00", "p1", checkout_id="c2", owner="c2")),
    ]
    threads = [threading.Thread(target=hearing.hears, args=(ask,)) for hearing, ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(one.all_said(RefundPlaced)) + len(two.all_said(RefundPlaced)) == 1
    told = [*one.all_said(RefundStatusChanged), *two.all_said(RefundStatusChanged)]
    assert sorted((each.status, each.code) for each in told) == [("processing", None), ("refused", "id_taken")]
    one.close()
    two.close()


def test_two_refunds_over_the_rest_by_http_and_by_the_upstreams_own_topic_are_one(stored: AllSettings) -> None:
    """The topics are two, so two processes hear them at once: of 6.00 and 6.00 of 10.00 one is placed."""
    own = stored.model_copy(update={"upstreams": frozenset({"shop"})})
    one, two = Hearing(own, build(own), "a"), Hearing(own, build(own), "b")
    carts = [f"c{number}" for number in range(30)]
    for cart in carts:
        one.hears(requested(cart, orders=1, prefix=cart))
        [order] = [event for event in one.hears(cleared(cart)) if isinstance(event, OrderPlaced)]
        one.hears(captured(order))
    both = threading.Barrier(2)

    def ask(process: Hearing, name: str, topic: str, owner: str | None) -> None:
        both.wait(20)
        for cart in carts:
            process.hears(ask_refund(f"{cart}-{name}", "6.00", f"{cart}1", checkout_id=cart, owner=owner), topic=topic)

    asks = ((one, "http", "payment-requests.v1", "shop"), (two, "kafka", "payment-requests.shop.v1", None))
    threads = [threading.Thread(target=ask, args=each) for each in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    placed = [event.payment_order_id for process in (one, two) for event in process.all_said(RefundPlaced)]
    assert sorted(placed) == sorted(f"{cart}1" for cart in carts)
    refused = [event.code for process in (one, two) for event in process.all_said(RefundStatusChanged) if event.code]
    assert refused == ["exceeds_refundable"] * len(carts)
    one.close()
    two.close()


class Recorded:
    """A connection that remembers what was asked of it."""

    def __init__(self, conn: Any, statements: list[str]) -> None:
        self._conn, self._statements = conn, statements

    def execute(self, statement: str, *rest: Any, **more: Any) -> Any:
        self._statements.append(statement)
        return self._conn.execute(statement, *rest, **more)


def test_an_automatic_capture_asks_the_database_for_nothing_more(payments: Hearing) -> None:
    order = placed(payments)
    statements: list[str] = []
    with Store(payments.settings, "payments").transaction() as conn:
        payment_rows.load(Recorded(conn, statements), [captured(order), credited(order), posted(order)], NOW)  # type: ignore[arg-type]
        assert len(statements) == 2
        payment_rows.load(Recorded(conn, statements), [captured(order), refunded(order, "r1", 1)], NOW)  # type: ignore[arg-type]
    assert len(statements) == 6
    assert not payments.all_said(OperationStatusChanged)
