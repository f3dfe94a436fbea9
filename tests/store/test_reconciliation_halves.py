"""Lines and the total that is claimed of them in two files, and reports beside the one that settles: on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.captures import capture
from tests.reconciling import ADYEN, SOURCES, Report, Room, Row, call_id
from topics.settings import Settings

GRACE = timedelta(days=2, hours=13)  # from Monday's noon to the midnight that ends Wednesday, when it is over
ITEM = ("PAYOUT_TOTAL", "settlement|adyen-eu/PAY1/EUR")
LINES = Report((Row(call_id(1), 1_234, 14, settlement="PAY1"), Row("", 0, 5, "f", settlement="PAY1")))
CLAIM = Report((Row("", -1_215, kind="p", settlement="PAY1"),), (("PAY1", "EUR", 1_215),), mode="union", name="payouts")
SHORT = Report((Row("", -1_214, kind="p", settlement="PAY1"),), (("PAY1", "EUR", 1_214),), mode="union", name="payouts")


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    room = Room(stored, SOURCES)
    room.hear(capture("order-1", call_id=call_id(1)))
    yield room
    room.close()
    assert room.dead == 0


def of_settlements(room: Room) -> set[tuple[str, str]]:
    return {(code, item) for code, item in room.breaks() if item.startswith("settlement|")}


@pytest.mark.parametrize("halves", [(LINES, CLAIM), (CLAIM, LINES)], ids=["lines first", "claim first"])
def test_a_settlement_ties_when_both_halves_are_here_and_is_no_break_before(
    room: Room, halves: tuple[Report, Report]
) -> None:
    first, second = halves
    room.reads(first)
    room.settles()
    assert (of_settlements(room), room.booked()) == (set(), {})
    room.settles(after=timedelta(days=1))
    room.reads(second)
    room.settles()
    assert of_settlements(room) == set()
    assert room.booked()["adyen-eu/PAY1/EUR"] == {
        "receivable EUR": -1_234,
        "fees EUR": 19,
        "bank_clearing EUR": 1_215,
    }


@pytest.mark.parametrize(("first", "second"), [(LINES, CLAIM), (CLAIM, LINES)], ids=["lines first", "claim first"])
def test_a_half_whose_other_one_does_not_come_is_a_break_when_its_grace_is_over(
    room: Room, first: Report, second: Report
) -> None:
    room.reads(first)
    room.settles()
    room.settles(after=GRACE - timedelta(hours=2))
    assert of_settlements(room) == set()
    room.settles(after=timedelta(hours=3))
    assert of_settlements(room) == {ITEM}
    room.reads(second)
    room.settles()
    assert of_settlements(room) == set()
    assert room.booked()


def test_halves_that_differ_are_a_break_at_once(room: Room) -> None:
    room.reads(LINES)
    room.reads(SHORT)
    room.settles()
    assert of_settlements(room) == {ITEM}
    assert room.booked() == {}


def test_evidence_moves_nothing_and_stands_under_the_key_of_its_payment(room: Room) -> None:
    status = Row(call_id(1), 0, 0, "e", settlement="", name="Settled")
    unknown = Row(call_id(7), 0, 0, "e", settlement="", name="Refused")
    room.reads(Report((status, unknown), mode="union", name="accounting"))
    room.settles()
    before = room.tallies()
    room.heard_all()
    room.settles(after=timedelta(hours=1))
    assert of_settlements(room) == room.breaks() == set()
    assert room.tallies() == before == {(ADYEN.psp, "c", call_id(1), "EUR"): (1_234, 0, 0)}
    assert room.kept_sums() == room.counted_sums()
    found = room.rows("SELECT replace(key, '-', '') AS key FROM tally_view WHERE kind = 'e' ORDER BY key")
    assert [row["key"] for row in found] == [call_id(1), call_id(7)]
    room.reads(LINES)
    room.reads(CLAIM)
    room.settles()
    assert room.tallies()[ADYEN.psp, "c", call_id(1), "EUR"] == (1_234, 1_234, 14)  # once
    assert room.breaks() - {("PAYOUT_MISSING", item) for _, item in room.breaks()} == set()
