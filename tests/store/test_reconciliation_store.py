"""The room of reconciliation on a real database: files and facts in, tallies, bookings and breaks out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from reconciliation.formats import keys
from schemas.settlements import SettlementMatched, SettlementReclassified, StatementMatched
from tests.captures import capture
from tests.reconciling import BANK, Report, Room, Row, call_id, paid_out
from topics.settings import Settings


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    room = Room(stored)
    yield room
    room.close()
    assert room.dead == 0


def captured(number: int) -> object:
    """EUR 12.34 at northpay."""
    return capture(f"order-{number}", call_id=call_id(number))


def test_a_settlement_whose_captures_are_known_is_booked_and_its_payout_meets_the_statement(room: Room) -> None:
    room.hear(captured(1), captured(2))
    room.reads(paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]))
    (matched,) = room.settles()
    assert isinstance(matched, SettlementMatched)
    assert (matched.subject, matched.revision, matched.psp, matched.bank_account) == (
        "adyen-eu/238/EUR", 1, "northpay", "main",
    )  # fmt: skip
    assert {each.role: each.amount.minor for each in matched.amounts} == {
        "receivable": -2468,
        "fees": 68,
        "bank_clearing": 2400,
    }
    entry = Row(keys.paid_out("main", "238"), 2400, kind="s", settlement="st-1")
    room.reads(Report((entry,), (("st-1", "EUR", 2500),), source=BANK, opening=100))
    (statement,) = room.settles()
    assert isinstance(statement, StatementMatched)
    assert {each.role: each.amount.minor for each in statement.amounts} == {"bank_clearing": -2400, "bank": 2400}
    assert room.breaks() == set()


def test_a_line_that_nobody_knows_waits_in_suspense_until_its_capture_is_heard(room: Room) -> None:
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    (matched,) = room.settles()
    assert {each.role: each.amount.minor for each in matched.amounts}["suspense"] == -1234
    assert room.breaks() == set()  # it may be our own lag
    room.after += timedelta(minutes=20)
    room.heard_all()
    room.settles()
    assert room.breaks() == {("MISSING_INTERNAL", f"northpay|c|{call_id(1)}")}
    room.hear(captured(1))
    (reclassified,) = room.settles()
    assert isinstance(reclassified, SettlementReclassified)
    assert {each.role: each.amount.minor for each in reclassified.amounts} == {"suspense": 1234, "receivable": -1234}
    assert room.breaks() == set()
