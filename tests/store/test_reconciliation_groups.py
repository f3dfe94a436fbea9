"""Many findings of one cause on a real database: one break in place of thousands, whatever they are and however they end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciliation import case_rows
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.reconciling import Room, Row, call_id, paid_out

OF_BEFORE = timedelta(minutes=20)


def opened(room: Room) -> list[tuple[str, str, int, int]]:
    """Code, subject, items, amount. No statement is read here."""
    rows = room.rows(
        "SELECT code, subject, items, amount FROM break_view WHERE state = 'open' AND code <> 'PAYOUT_MISSING' ORDER BY subject"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def test_a_first_file_of_what_was_sold_before_is_one_break_until_it_is_discarded(room: Room) -> None:
    """Nothing was expected yet: the operator discards the file, whose money is in nobody's books here."""
    numbers = range(1, 521)
    report = paid_out([Row(call_id(number), 100, 1) for number in numbers])
    room.reads(report)
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    assert [row["state"] for row in room.rows("SELECT state FROM file_view")] == ["folded"], (
        "nothing of it is odd in one way"
    )
    assert room.booked()["adyen-eu/238/EUR"]["suspense EUR"] == -52_000
    assert opened(room) == [("MISSING_INTERNAL", "adyen-eu/238/EUR", 520, 52_000)]
    assert room.breaks() == {("MISSING_INTERNAL", f"northpay|c|{call_id(number)}") for number in numbers}
    room.hear(
        SettlementFileDiscarded(source="adyen-eu", file_id=report.file_id, discarded_by="ann", reason="of before")
    )
    room.settles()
    assert (opened(room), room.breaks(), room.booked()) == ([], set(), {})


def test_what_was_only_late_to_be_heard_leaves_the_group_one_by_one(room: Room) -> None:
    room.reads(paid_out([Row(call_id(number), 1234, 34) for number in range(1, 503)]))
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in range(1, 502)])
    room.settles()
    assert opened(room) == [("MISSING_INTERNAL", "adyen-eu/238/EUR", 1, 1234)]
    assert room.booked()["adyen-eu/238/EUR"]["suspense EUR"] == -1234


def test_single_breaks_become_one_when_they_are_too_many_and_are_worked_alone_before(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_rows, "GROUPED_PAST", 2)
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in (1, 2)])
    room.settles(after=timedelta(days=20))
    assert opened(room) == [("MISSING_AT_PSP", f"northpay|c|{call_id(number)}", 1, 1234) for number in (1, 2)]
    own_day = room.now() - timedelta(days=20)
    for number in (3, 4):
        room.hear(capture(f"order-{number}", call_id=call_id(number)), said_at=own_day)
        room.settles()
    [(code, subject, items, amount)] = opened(room)
    assert (code, subject.partition("/")[0], items, amount) == ("MISSING_AT_PSP", "northpay", 4, 4 * 1234)
    room.reads(paid_out([Row(call_id(number), 1234, 34) for number in (1, 3)]))
    room.settles()
    assert [each[2:] for each in opened(room)] == [(2, 2 * 1234)]
    room.reads(paid_out([Row(call_id(number), 1234, 34, settlement="239") for number in (2, 4)], "239"))
    room.settles()
    assert opened(room) == []
    actions = room.rows(
        "SELECT a.action FROM break_action_view a JOIN break_view b USING (break_id) WHERE b.subject = %s ORDER BY a.revision",
        subject,
    )
    assert [row["action"] for row in actions] == ["opened", "changed", "changed", "closed"]


def test_amounts_that_differ_in_a_settlement_stay_cases_of_their_own_while_they_are_few(room: Room) -> None:
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in (1, 2, 3)])
    room.reads(paid_out([Row(call_id(number), 1300, 34) for number in (1, 2, 3)]))
    room.settles()
    assert opened(room) == [("AMOUNT", f"northpay|c|{call_id(number)}", 1, 66) for number in (1, 2, 3)]
