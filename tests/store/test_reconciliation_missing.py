"""Files that do not come on a real database: by schedule, by number, by balance; and what may be in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from reconciliation.formats import keys
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.payouts import submitted
from tests.reconciling import ADYEN, BANK, SECOND, Report, Room, Row, call_id, numbered, paid_out
from topics.settings import Settings
from topics.settlement_sources import FeeScheduleRow, FileSchedule, SettlementSource

MONDAY = date(2026, 1, 5)  # the first day of all tests
DAILY = FileSchedule(first_day=MONDAY)
LATE = timedelta(days=5, hours=12)  # Saturday's midnight: two days to the settlement, two of grace


def daily(source: SettlementSource, **changes: object) -> SettlementSource:
    return source.model_copy(update={"files": DAILY.model_copy(update=changes)})


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    fees = (FeeScheduleRow(valid_from=MONDAY, fixed="1"), FeeScheduleRow(valid_from=date(2026, 1, 6), fixed="2"))
    room = Room(stored, (daily(ADYEN).model_copy(update={"fees": fees}), SECOND, daily(BANK)))
    yield room
    room.close()
    assert room.dead == 0


def of_day(day: int, *rows: Row, until: int = 0) -> Report:
    """The PSP's file of that day of January, and of the days until another one."""
    days = (f"2026-01-{day:02}", f"2026-01-{until or day:02}")
    return paid_out(
        rows or [Row("", 5, kind="f", settlement=str(day))], rows[0].settlement if rows else str(day), days=days
    )


def missing(*days: int, source: str = "adyen-eu") -> set[tuple[str, str]]:
    return {("FILE_MISSING", f"day|{source}/2026-01-{day:02}") for day in days}


def without_bank(room: Room) -> set[tuple[str, str]]:
    return {(code, item) for code, item in room.breaks() if "bank-main" not in item}


def at_the_psp(room: Room) -> set[tuple[str, str]]:
    return {(code, item) for code, item in room.breaks() if code != "PAYOUT_MISSING"}


def test_a_file_that_does_not_come_is_one_break_a_day_and_closes_when_it_comes(room: Room) -> None:
    room.reads(of_day(5))
    room.misses_files(after=timedelta(days=4))  # Friday: Tuesday's file may come until midnight
    assert without_bank(room) == set()
    room.misses_files(after=timedelta(hours=13))
    assert without_bank(room) == missing(6)
    room.misses_files(after=timedelta(days=2))  # Monday: nobody works in between
    assert without_bank(room) == missing(6)
    room.misses_files(after=timedelta(days=1))
    assert without_bank(room) == missing(6, 7)
    room.reads(of_day(6))
    room.settles(after=timedelta(seconds=16))
    assert without_bank(room) == missing(7)
    told = room.rows("SELECT subject, source, state, amount FROM break_view WHERE source = 'adyen-eu' ORDER BY subject")
    assert [(row["subject"], row["state"]) for row in told] == [
        ("adyen-eu/2026-01-06", "closed"),
        ("adyen-eu/2026-01-07", "open"),
    ]


def test_a_file_that_the_gate_has_read_has_come_and_one_that_is_refused_has_not(room: Room) -> None:
    refused = of_day(5)
    room.refused(refused, "bad_total")
    room.misses_files(after=timedelta(days=4))
    assert without_bank(room) == missing(5) | {("FILE_REFUSED", f"file|adyen-eu/{refused.file_id}")}


def test_what_a_missing_file_would_hold_is_not_missing_too_until_the_file_has_come(room: Room) -> None:
    room.hear(*[capture(f"order-{number}", call_id=call_id(number)) for number in range(1, 31)], said_at=None)
    for day in (6, 7):
        room.reads(of_day(day))
    room.misses_files(after=LATE)
    assert without_bank(room) == missing(5)  # not thirty captures
    room.reads(of_day(5, *[Row(call_id(number), 1234, 100) for number in range(1, 30)]))
    room.settles(after=timedelta(seconds=16))
    assert without_bank(room) == {("MISSING_AT_PSP", f"northpay|c|{call_id(30)}")}


def test_what_is_found_missing_waits_again_when_its_file_is_discarded(room: Room) -> None:
    room.hear(capture("order-1", call_id=call_id(1)))
    wrong = of_day(5, Row("", 5, kind="f"))
    for file in (wrong, of_day(6), of_day(7)):
        room.reads(file)
    room.misses_files(after=LATE)
    assert without_bank(room) == {("MISSING_AT_PSP", f"northpay|c|{call_id(1)}")}
    room.hear(SettlementFileDiscarded(source="adyen-eu", file_id=wrong.file_id, discarded_by="ann", reason="of May"))
    room.settles()
    assert without_bank(room) == missing(5)


def test_a_payout_is_not_missing_at_the_bank_while_its_statement_is(room: Room) -> None:
    room.hear(submitted(call_id=call_id(7)))
    room.misses_files(after=LATE)
    assert room.breaks() == missing(5, 6) | missing(5, 6, source="bank-main")
    for day in (5, 6, 7):
        days = (f"2026-01-0{day}", f"2026-01-0{day}")
        room.reads(Report((), ((f"st-{day}", "EUR", 0),), source=BANK, opening=0, days=days))
    room.settles(after=timedelta(seconds=16))
    assert {each for each in room.breaks() if "adyen" not in each[1]} == {("PAYOUT_MISSING", f"main|s|{call_id(7)}")}


def test_a_file_of_several_days_is_the_file_of_each(room: Room) -> None:
    room.reads(of_day(5, until=9))
    room.misses_files(after=timedelta(days=10))
    assert without_bank(room) == set()


def test_a_source_that_settles_every_day_misses_the_files_of_weekends_and_one_without_a_schedule_none(
    stored: Settings,
) -> None:
    room = Room(stored, (daily(ADYEN, days="every", first_day=date(2026, 1, 10)), SECOND))
    room.misses_files(after=timedelta(days=11))
    assert room.breaks() == missing(10, 11, 12)
    room.close()


def test_two_processes_that_look_at_the_schedule_open_one_break(room: Room, stored: Settings) -> None:
    other = Room(stored, room.settings.settlement_sources, "b")
    other.misses_files(after=timedelta(days=4))
    room.misses_files(after=timedelta(days=4))
    other.close()
    told = room.rows("SELECT revision FROM break_view WHERE source = 'adyen-eu'")
    assert told == [{"revision": 1}]


def test_what_would_be_in_the_batch_of_a_missing_number_is_not_missing_too(stored: Settings) -> None:
    """Batches overlap: no day is without a file."""
    room = Room(stored)
    room.hear(capture("order-1", call_id=call_id(1)))

    def reads(number: int, *rows: Row, until: int) -> None:
        days = ("2026-01-05", f"2026-01-0{until}")
        room.reads(numbered(number, rows or [Row("", 5, kind="f", settlement=str(number))], days=days))
        room.settles()

    reads(7, until=6)
    reads(9, until=8)
    assert room.breaks() == {("FILE_MISSING", "sequence|adyen-eu/8")}
    room.settles(after=LATE)
    assert at_the_psp(room) == {("FILE_MISSING", "sequence|adyen-eu/8")}
    reads(8, Row("", 5, kind="f", settlement="8"), until=7)
    assert at_the_psp(room) == {("MISSING_AT_PSP", f"northpay|c|{call_id(1)}")}
    room.close()


def test_a_capture_is_due_and_priced_as_on_its_own_day_however_late_it_is_heard(room: Room) -> None:
    own_day = room.now()
    room.hear(capture("order-1", call_id=call_id(1)))
    room.after += timedelta(days=10)
    room.hear(capture("order-2", call_id=call_id(2)), said_at=own_day)
    told = room.rows("SELECT due, fee_expected FROM tally_view ORDER BY key")
    assert told == [{"due": date(2026, 1, 7), "fee_expected": 100}] * 2


def test_a_settlement_that_is_booked_late_is_due_at_the_bank_by_when_its_file_came(room: Room) -> None:
    report = of_day(5)
    room.reads(report)
    room.settles(after=timedelta(days=10))
    [due] = room.rows(
        "SELECT due FROM tally_view WHERE kind = 's' AND key::uuid = %s::uuid", keys.paid_out("main", "5", "EUR")
    )
    assert due == {"due": date(2026, 1, 6)}
