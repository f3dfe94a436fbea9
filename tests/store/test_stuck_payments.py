"""Payments past a limit, found on a real database by the role that `tally stuck` reads with, and by the room's upkeep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from consumers.payments.consumer import build
from consumers.payments.stuck import stuck
from operations.cli.commands.stuck import find_stuck
from schemas.events import OrderPlaced
from tests.store.hearing import NOW, Hearing
from tests.unit.money_back_cases import (
    ask_capture,
    ask_refund,
    ask_void,
    authorised,
    in_ledger,
    in_wallet,
    opened,
    part_captured,
    refunded,
    voided,
)
from tests.unit.payment_cases import captured, cleared, credited, declined, posted, requested, unknown
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.stuck import Stuck
from topics.settings import Settings


@pytest.fixture
def payments(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, build(stored))
    yield hearing
    hearing.close()


def found(payments: Hearing, after_s: int = 0) -> list[Stuck]:
    with psycopg.connect(payments.settings.dsn("tally_payments_read"), options="-c search_path=payments") as conn:
        return stuck(conn, payments.settings.stuck, NOW + timedelta(seconds=after_s))


def test_what_waits_for_its_next_capture_is_not_stuck(payments: Hearing) -> None:
    payments.hears(requested(orders=1, capture="manual"))
    [order] = placed(payments)
    payments.hears(authorised(order))
    long = payments.settings.stuck.executing_s + payments.settings.stuck.booking_s
    assert found(payments, long) == []
    payments.hears(ask_capture("k1", "4.00"), part_captured(order, "k1", 400))
    [books] = found(payments, long)
    assert (books.state, books.next.partition(":")[0], [*map(str, books.amounts)]) == (
        "booking",
        "capture k1",
        ["4.00 EUR"],
    )
    payments.hears(in_wallet(order, 360, "k1"), in_ledger(order, 400, "k1"))
    assert found(payments, long) == []
    payments.hears(ask_capture("k2", "6.00"), part_captured(order, "k2", 600, final=True))
    assert [(one.id, one.state) for one in found(payments, long)] == [("o1", "booking")]


def test_an_operation_that_stands_still_is_told_whatever_became_of_its_payment(payments: Hearing) -> None:
    limits = payments.settings.stuck
    payments.hears(requested(orders=1))
    [order] = placed(payments)
    payments.hears(ask_refund("r0", "1.00"))
    payments.hears(unknown(order))
    assert found(payments, 9**6) == [], "it waits for its capture, of which the executor tells"
    payments.hears(captured(order), credited(order), posted(order))
    assert payments.rows("SELECT is_payment_done FROM payment_view") == [{"is_payment_done": True}]
    assert found(payments, limits.executing_s - 1) == []
    [waits] = found(payments, limits.executing_s)
    assert (waits.id, waits.state, waits.psp, [*map(str, waits.amounts)]) == (
        "o1",
        "executing",
        "northpay",
        ["1.00 EUR"],
    )
    assert waits.next.startswith("refund r0: goes on when the executor says")

    payments.hears(refunded(order, "r0", 100), opened(order, 200))
    assert found(payments, limits.booking_s - 1) == []
    told = {one.next.partition(":")[0]: one for one in found(payments, limits.booking_s)}
    assert told.keys() == {"refund r0", "dispute dp_1 stage 1"}
    assert {one.state for one in told.values()} == {"booking"}
    assert "ends when wallet and ledger has" in told["refund r0"].next
    payments.hears(in_wallet(order, -90, "r0", "refunded"), in_wallet(order, -200, "dp_1.1", "chargeback_opened"))
    payments.hears(in_ledger(order, 200, "dp_1.1", "chargeback_opened"))
    [books] = found(payments, limits.booking_s)
    assert "ends when ledger has" in books.next
    payments.hears(in_ledger(order, 100, "r0", "refunded"))
    assert found(payments, 9**6) == []


def test_what_the_executor_says_of_an_operation_payments_does_not_tell_too(payments: Hearing) -> None:
    payments.hears(requested(orders=1, capture="manual"))
    [order] = placed(payments)
    payments.hears(authorised(order), ask_capture("k1", "4.00"), ask_void("v1"))
    assert [(one.state, *map(str, one.amounts)) for one in found(payments, 9**6)] == [
        ("executing", "4.00 EUR"),
        ("executing",),
    ]
    asked = unknown(order).model_copy(update={"operation": "capture", "operation_id": "k1"})
    payments.hears(asked, voided(order, "v1", 1000))
    assert found(payments, 9**6) == []


def test_operations_that_are_through_are_not_read_to_find_those_that_are_not(payments: Hearing) -> None:
    with payments.store.transaction() as conn:
        conn.execute("SET LOCAL enable_seqscan = off")
        for name in ("operation", "dispute"):
            oldest = f"SELECT * FROM open_{name}_view WHERE changed_at < now() ORDER BY changed_at LIMIT 10"
            assert f"{name}s_open" in str(conn.execute(f"EXPLAIN {oldest}".encode()).fetchall())


def placed(payments: Hearing) -> list[OrderPlaced]:
    return [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]


def test_money_that_stands_still_is_told_at_every_stage_of_a_payment(payments: Hearing) -> None:
    limits = payments.settings.stuck
    payments.hears(requested(orders=2))
    assert found(payments, limits.risk_s - 1) == []
    [waits] = found(payments, limits.risk_s)
    assert (waits.id, waits.state, waits.age_s, [*map(str, waits.amounts)]) == ("c1", "risk", 120, ["20.00 EUR"])

    first, second = placed(payments)
    assert found(payments, limits.executing_s - 1) == []
    assert [(one.id, one.state) for one in found(payments, limits.executing_s)] == [
        ("o1", "executing"),
        ("o2", "executing"),
    ]

    payments.hears(unknown(first), captured(second))
    [books] = found(payments, limits.executing_s)
    assert (books.id, books.state, books.psp, [*map(str, books.amounts)]) == (
        "o2",
        "booking",
        "northpay",
        ["10.00 EUR"],
    )
    payments.hears(credited(second))
    assert "ends when ledger has" in found(payments, limits.executing_s)[0].next
    payments.hears(posted(second))
    assert found(payments, limits.executing_s) == []  # o1 is unknown at its PSP, which the executor tells

    payments.hears(declined(first))
    assert payments.rows("SELECT 1 FROM open_payment_view") == []


def test_many_at_a_psp_hide_nobody_who_waits_for_a_room(payments: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of all kinds were read together: behind 2,000 abandoned 3-D Secure nobody saw what was never booked."""
    monkeypatch.setattr("consumers.payments.stuck.FOUND_MAX", 2)
    for number in range(3):
        payments.hears(requested(f"old{number}", orders=1, prefix=f"old{number}-"))
        [order] = [event for event in payments.hears(cleared(f"old{number}")) if isinstance(event, OrderPlaced)]
        payments.hears(unknown(order))
    payments.hears(requested(orders=1), after=timedelta(seconds=1))
    [order] = placed(payments)
    payments.hears(captured(order))
    assert [(one.id, one.state) for one in found(payments, 86_400)] == [("o1", "booking")]


def test_payments_that_are_done_are_not_read_to_find_those_that_are_not(payments: Hearing) -> None:
    with payments.store.transaction() as conn:
        conn.execute("SET LOCAL enable_seqscan = off")
        plan = conn.execute(
            "EXPLAIN SELECT checkout_id FROM open_payment_view WHERE received_at < now() ORDER BY received_at LIMIT 10"
        ).fetchall()
    assert "payments_open" in str(plan)


def test_upkeep_says_in_the_log_what_tally_stuck_shows(payments: Hearing) -> None:
    payments.hears(requested(orders=1))  # long ago by the clock of this test's machine
    upkeep = Upkeep(payments.settings, "payments", threading.Event(), payments.consumer.find_stuck)
    with capture_logs() as lines:
        upkeep.look()
        upkeep.look()
    assert [(line["event"], line["room"], line["id"], line["state"]) for line in lines] == [
        ("stuck", "payments", "c1", "risk")
    ]
    [shown] = find_stuck(payments.settings)
    assert (shown.room, shown.id, shown.next) == ("payments", "c1", lines[0]["next"])


def test_upkeep_trims_slice_after_slice_until_nothing_is_old_enough(stored: Settings) -> None:
    slices = [2, 2, 1, 0]
    Upkeep(stored, "doors", threading.Event(), trim=lambda conn, kept, now: slices.pop(0)).tidy()
    assert slices == []
