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
from tests.unit.money_back_cases import ask_capture, authorised, part_captured
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
    assert found(payments, long) == []
    payments.hears(ask_capture("k2", "6.00"), part_captured(order, "k2", 600, final=True))
    assert [(one.id, one.state) for one in found(payments, long)] == [("o1", "booking")]


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
