"""Versions of a file, refused files and repeated lines, on a real database: what a person sees of them, and what is booked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.settlements import SettlementFileDiscarded
from tests.reconciling import Report, Room, Row, call_id, paid_out
from tests.store.test_reconciliation_store import by_two, captured


def test_a_version_without_a_number_waits_for_a_person_and_then_replaces_the_former(room: Room) -> None:
    room.hear(captured(1), captured(2))
    first, second = versions(100)
    room.reads(first)
    room.settles()
    room.reads(second)
    assert room.settles() == []
    assert held(room) == ["restated"]
    assert room.breaks() == {("FILE_RESTATED", "restated|adyen-eu/batch 238")}
    room.hear(by_two(second))
    (matched,) = room.settles()
    assert (matched.revision, {each.role: each.amount.minor for each in matched.amounts}) == (
        2,
        {"receivable": -100, "bank_clearing": 100},
    )
    assert states(room) == ["superseded", "folded"]
    assert [(each["code"], each["amount"], each["action"]) for each in recorded(room)] == [
        ("FILE_RESTATED", 100, "opened"), ("FILE_RESTATED", 100, "closed"),
    ]  # fmt: skip


def versions(more: int, *numbers: str) -> tuple[Report, Report]:
    """Of a file with the captures 1 and 2: the second pays out so much more, in minor units, and is right."""
    rows = Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)
    wrong = replace(rows[1], gross=1234 - more)
    first, second = numbers or ("", "")
    return (
        paid_out([rows[0], wrong], identity="batch 238", version=first),
        paid_out(rows, identity="batch 238", version=second),
    )


def discarded(report: Report) -> SettlementFileDiscarded:
    return SettlementFileDiscarded(
        source=report.source.name, file_id=report.file_id, discarded_by="ann", reason="sent by mistake"
    )


def held(room: Room) -> list[str]:
    """Why files are."""
    return [row["why"] for row in room.rows("SELECT why FROM file_view WHERE state = 'held'")]


def states(room: Room) -> list[str]:
    return [row["state"] for row in room.rows("SELECT state FROM file_view ORDER BY file_no")]


def recorded(room: Room) -> list[dict[str, object]]:
    """Breaks that needed nobody."""
    return room.rows(
        "SELECT code, subject, b.amount + i.amount AS amount, action FROM break_view b"
        " JOIN break_item_view i USING (break_id) JOIN break_action_view a USING (break_id)"
        " WHERE b.state = 'closed' AND code IN ('FILE_RESTATED', 'DUPLICATE_ROW') ORDER BY a.revision"
    )


@pytest.mark.parametrize("newer_first", [False, True])
def test_a_newer_version_within_the_limit_replaces_the_former_by_itself_whichever_comes_first(
    room: Room, newer_first: bool
) -> None:
    room.hear(captured(1), captured(2))
    first, second = versions(100, "1", "2")
    for report in (second, first) if newer_first else (first, second):
        room.reads(report)
        room.settles()
    assert sorted(states(room)) == ["folded", "superseded"]
    assert room.booked()["adyen-eu/238/EUR"]["bank_clearing EUR"] == 2400
    assert room.breaks() == set()
    assert [(each["subject"], each["amount"], each["action"]) for each in recorded(room)] == [
        ("adyen-eu/batch 238", 100, "recorded")
    ]


def test_a_newer_version_that_moves_more_than_the_limit_is_held_and_replaces_the_former_once_two_persons_say_so(
    room: Room,
) -> None:
    """The limit is 100.00."""
    room.hear(captured(1), captured(2))
    first, second = versions(10_001, "1", "2")
    room.reads(first)
    room.settles()
    room.reads(second)
    assert room.settles() == []
    assert held(room) == ["restated"]
    assert ("FILE_RESTATED", "restated|adyen-eu/batch 238") in room.breaks()
    assert room.booked()["adyen-eu/238/EUR"]["bank_clearing EUR"] == 2400 - 10_001, "the former one stands"
    room.hear(by_two(second))
    room.settles()
    assert states(room) == ["superseded", "folded"]
    assert room.booked()["adyen-eu/238/EUR"]["bank_clearing EUR"] == 2400
    assert room.breaks() == set()


def test_a_held_version_that_is_discarded_leaves_the_former_as_it_was(room: Room) -> None:
    room.hear(captured(1), captured(2))
    second, first = versions(10_001, "2", "1")  # the newer one is wrong
    room.reads(first)
    room.settles()
    before = room.booked()
    room.reads(second)
    room.settles()
    room.hear(discarded(second))
    assert room.settles() == []
    assert (states(room), room.booked(), room.breaks()) == (["folded", "discarded"], before, set())
    assert [each["action"] for each in recorded(room)] == ["opened", "closed"]


def test_the_same_lines_in_other_bytes_are_no_restatement_and_wait_for_nobody(room: Room) -> None:
    room.hear(captured(1), captured(2))
    _, first = versions(0)
    for report in (first, replace(first, name="with other line ends")):
        room.reads(report)
        room.settles()
    assert states(room) == ["superseded", "folded"]
    assert (recorded(room), room.breaks()) == ([], set())


def test_a_line_that_keeps_its_name_and_changes_its_amount_is_a_restatement(room: Room) -> None:
    """As in formats that number their transactions."""
    room.hear(captured(1))
    for version, gross in (("1", 1134), ("2", 1234)):
        room.reads(paid_out([Row(call_id(1), gross, 34, name="tx")], identity="day", version=version))
        room.settles()
    assert [each["amount"] for each in recorded(room)] == [100]
    assert room.booked()["adyen-eu/238/EUR"]["receivable EUR"] == -1234


def test_a_file_that_the_gate_refuses_is_a_break_until_it_is_released_and_read_or_discarded(room: Room) -> None:
    read, thrown_away = paid_out([Row(call_id(1), 1234, 34)]), paid_out([Row(call_id(2), 1234, 34)])
    for report in (read, thrown_away):
        room.refused(report, "bad_total")
    room.settles(after=timedelta(seconds=16))
    assert room.breaks() == {("FILE_REFUSED", f"file|adyen-eu/{each.file_id}") for each in (read, thrown_away)}
    [shown] = room.rows("SELECT subject, detail FROM break_view WHERE subject = %s", f"adyen-eu/{read.file_id}")
    assert shown["detail"] == {"file": 1, "name": "f.csv", "why": "bad_total"}
    room.hear(by_two(read), discarded(thrown_away))
    room.settles()
    assert room.breaks() == set()
    actions = room.rows("SELECT action FROM break_action_view ORDER BY break_id, revision")
    assert [row["action"] for row in actions] == ["opened", "closed"] * 2


def test_a_line_that_two_files_have_counts_once_and_is_recorded(room: Room) -> None:
    """Two batches, no versions of one: the second repeats a line of the first."""
    room.hear(captured(1), captured(2))
    again = Row(call_id(1), 1234, 34, name="tx-1")
    first, second = paid_out([again]), Report((again, Row(call_id(2), 1234, 34, name="tx-2")))
    for report in (first, second):
        room.reads(report)
        room.settles()
    assert [(each["code"], each["subject"], each["amount"], each["action"]) for each in recorded(room)] == [
        ("DUPLICATE_ROW", "adyen-eu/238/EUR", 1234, "recorded")
    ]
    room.hear(discarded(first))
    room.settles()
    rows = room.rows("SELECT settled FROM tally_view WHERE kind = 'c' ORDER BY key")
    assert [row["settled"] for row in rows] == [1234, 1234], "the second file has it, too"
