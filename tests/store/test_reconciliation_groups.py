"""Many findings of one cause on a real database: one break in place of thousands, whatever they are and however they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from reconciliation import case_rows, loading
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
    room.reads(paid_out([Row(call_id(number), 1234, 34) for number in range(1, 504)]))
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in (1, 2)])
    room.settles()
    assert opened(room) == [("MISSING_INTERNAL", "adyen-eu/238/EUR", 501, 501 * 1234)]
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in range(3, 503)])
    room.settles()
    assert opened(room) == [("MISSING_INTERNAL", f"northpay|c|{call_id(503)}", 1, 1234)]
    assert room.booked()["adyen-eu/238/EUR"]["suspense EUR"] == -1234


def test_breaks_are_one_while_they_are_too_many_and_are_worked_alone_before_and_after(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_rows, "GROUPED_PAST", 2)
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in (1, 2)])
    room.settles(after=timedelta(days=20))
    assert opened(room) == [("MISSING_AT_PSP", f"northpay|c|{call_id(number)}", 1, 1234) for number in (1, 2)]
    own_day = room.now() - timedelta(days=20)
    open_since = (
        "SELECT item, opened_at FROM break_item_view WHERE closed_at IS NULL AND item LIKE 'northpay%%' ORDER BY item"
    )
    since = room.rows(open_since)
    for number in (3, 4):
        room.hear(capture(f"order-{number}", call_id=call_id(number)), said_at=own_day)
        room.settles()
    [(code, subject, items, amount)] = opened(room)
    assert (code, subject.partition("/")[0], items, amount) == ("MISSING_AT_PSP", "northpay", 4, 4 * 1234)
    room.reads(paid_out([Row(call_id(number), 1234, 34) for number in (3, 4)]))
    room.settles()
    assert opened(room) == [("MISSING_AT_PSP", f"northpay|c|{call_id(number)}", 1, 1234) for number in (1, 2)]
    assert since == room.rows(open_since)
    room.reads(paid_out([Row(call_id(number), 1234, 34, settlement="239") for number in (1, 2)], "239"))
    room.settles()
    assert opened(room) == []
    actions = (
        "SELECT a.action FROM break_action_view a JOIN break_view b USING (break_id) WHERE b.subject = %s"
        " ORDER BY a.revision"
    )
    assert [row["action"] for row in room.rows(actions, subject)] == ["opened", "changed", "closed"]
    alone = [row["action"] for row in room.rows(actions, f"northpay|c|{call_id(1)}")]
    assert alone == ["opened", "closed", "reopened", "closed"]


def test_the_breaks_are_the_same_whether_a_fact_comes_before_its_line_or_after(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_rows, "GROUPED_PAST", 2)
    facts = {number: capture(f"order-{number}", call_id=call_id(number)) for number in (3, 6)}
    room.hear(facts[3])
    room.reads(paid_out([Row(call_id(number), 1234, 34) for number in (1, 2, 3)]))
    room.reads(paid_out([Row(call_id(number), 1234, 34, settlement="239") for number in (4, 5, 6)], "239"))
    room.after += OF_BEFORE
    room.heard_all()
    room.settles()
    assert [each[2] for each in opened(room)] == [3, 1, 1], "one of the two settlements has too many"
    room.hear(facts[6])
    room.settles()
    alone = [("MISSING_INTERNAL", f"northpay|c|{call_id(number)}", 1, 1234) for number in (1, 2, 4, 5)]
    assert opened(room) == sorted(alone)


def test_amounts_that_differ_in_a_settlement_stay_cases_of_their_own_while_they_are_few(room: Room) -> None:
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in (1, 2, 3)])
    room.reads(paid_out([Row(call_id(number), 1300, 34) for number in (1, 2, 3)]))
    room.settles()
    assert opened(room) == [("AMOUNT", f"northpay|c|{call_id(number)}", 1, 66) for number in (1, 2, 3)]


def test_a_files_odd_lines_are_counted_once_and_not_again_for_each_slice(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would take a file of a million lines that nobody expects a hundred times as long as one of a tenth."""
    said: list[str] = []
    execute = psycopg.Connection.execute

    def noting(self: psycopg.Connection, query: str, *arguments: Any, **more: Any) -> Any:
        said.append(query)
        return execute(self, query, *arguments, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", noting)
    monkeypatch.setattr(loading, "SLICE", 4)
    room.reads(paid_out([Row(call_id(number), 100, 1) for number in range(1, 31)]))
    room.settles()
    assert [row["state"] for row in room.rows("SELECT state FROM file_view")] == ["folded"]
    assert sum("FROM odd\nWHERE file_no" in query for query in said) > 30 // 4, "it was judged in slices"
    assert sum("FROM odd JOIN tallies" in query for query in said) == 1
