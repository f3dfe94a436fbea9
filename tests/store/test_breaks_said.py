"""What is said of breaks on a real database: each change once, by revision, in the transaction that makes it."""

from __future__ import annotations

from datetime import timedelta

from schemas.breaks import BreakChanged, BreakOpened, BreakResolved
from schemas.money import Money
from tests.captures import capture
from tests.reconciling import Room, Row, call_id, paid_out

OF_BEFORE = timedelta(minutes=20)


def said(room: Room) -> list[tuple[str, str, int, int]]:
    """Kind, subject, revision, items."""
    kinds = (BreakOpened, BreakChanged, BreakResolved)
    return [
        (type(event).__name__, event.subject, event.revision, event.items)
        for event in room.said
        if isinstance(event, kinds)
    ]


def test_a_break_is_said_when_it_opens_and_when_it_closes(room: Room) -> None:
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    [opened] = room.all_said(BreakOpened)
    assert (opened.code, opened.break_class, opened.items) == ("MISSING_INTERNAL", "A", 1)
    assert (opened.amount, opened.psp, opened.source) == (Money(1234, "EUR"), "northpay", "adyen-eu")
    [row] = room.rows("SELECT replace(break_id, '-', '') AS id, revision FROM break_view WHERE state = 'open'")
    assert (opened.break_id, opened.revision) == (row["id"], row["revision"])
    room.hear(capture("order-1", call_id=call_id(1)))
    room.settles()
    subject = f"northpay|c|{call_id(1)}"
    assert said(room) == [("BreakOpened", subject, 1, 1), ("BreakResolved", subject, 2, 0)]


def test_thousands_of_lines_of_one_cause_are_said_as_one(room: Room) -> None:
    room.reads(paid_out([Row(call_id(number), 100, 1) for number in range(1, 521)]))
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    assert said(room) == [("BreakOpened", "adyen-eu/238/EUR", 1, 520)]
    room.hear(capture("order-1", call_id=call_id(1), gross=Money(100, "EUR"), fee=Money(1, "EUR")))
    room.settles()
    assert said(room)[1:] == [("BreakChanged", "adyen-eu/238/EUR", 2, 519)]


def test_what_is_only_recorded_is_not_said(room: Room) -> None:
    """Two files have the same line: it counts once, and there is nothing that anybody could do."""
    room.reads(paid_out([Row(call_id(1), 1234, 34)], identity="a"))
    room.reads(paid_out([Row(call_id(1), 1234, 34)], identity="b"))
    room.hear(capture("order-1", call_id=call_id(1)))
    room.settles()
    assert [row["code"] for row in room.rows("SELECT code FROM break_view")] == ["DUPLICATE_ROW"]
    assert said(room) == []
