"""A day of reconciliation that two persons sign, on the real databases: what refuses, what is frozen, what can be changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from producers import recon_close_replies
from producers.doors.recon_closes import OF_DAY, Closing, Standing, close, report_of, shown
from producers.problems import Problem
from producers.recon_day_report import Taken, day_report, taken
from producers.recon_reports import Answer
from reconciliation.formats import keys
from tests.reconciling import ADYEN, BANK, Row, call_id, paid_out
from tests.reconciling import Report as File
from tests.store.finance import Books, statement
from tests.store.hearing import NOW
from topics.runtime.shape.reading import read
from topics.settings import Settings
from topics.settlement_sources import FileSchedule

DAY = NOW.date()
MORNING = NOW + timedelta(days=1)
LATER = MORNING + timedelta(hours=1)
EACH_DAY = FileSchedule(first_day=DAY, lag_days=1)
Close = Callable[..., Closing]


@pytest.fixture
def books(stored: Settings) -> Iterator[Books]:
    books = Books(stored, (ADYEN.model_copy(update={"files": EACH_DAY}), BANK))
    books.settle(paid_out([Row(call_id(1), 1234, 34)], days=("2026-01-05", "2026-01-09")))
    yield books
    books.close()


def report(books: Books, day: date = DAY, at: datetime = MORNING) -> Answer:
    told = books.walk(day_report((ADYEN, BANK), day, at))
    recon_close_replies.DayReport.model_validate(told)
    return told


def take(books: Books, day: date = DAY, at: datetime = MORNING) -> Taken:
    return taken(report(books, day, at), at.date())


@pytest.fixture
def decide(stored: Settings) -> Iterator[Close]:
    with psycopg.connect(stored.dsn("tally_doors"), options="-c search_path=doors", autocommit=True) as conn:

        def done(
            what: Taken, by: str, sha256: str | None = None, reason: str = "all well", now: datetime = MORNING
        ) -> Closing:
            with conn.transaction():
                closing, said = close(what, by, reason, sha256).work(conn, now)
            assert not said.events
            return closing

        yield done


def refused(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


def test_one_person_proposes_a_report_and_another_one_signs_that_one(books: Books, decide: Close) -> None:
    books.captured(1)
    first = take(books)
    proposed = decide(first, "operator ann")
    assert (proposed.row["decision"], proposed.replayed) == ("proposed", False)
    again = decide(take(books, at=LATER), "operator ann", now=LATER)
    assert (again.row["sha256"], again.replayed) == (first.sha256, True), "only the moment differs"
    problem = refused(lambda: decide(first, "operator bob"))
    assert (problem.code, [each.field for each in problem.errors]) == ("missing_field", ["sha256"])
    assert first.sha256 in problem.detail
    assert refused(lambda: decide(first, "operator bob", "0" * 64)).code == "approval_stale"
    assert refused(lambda: decide(first, "Ann (key 1)", first.sha256)).code == "same_person"
    signed = decide(first, "operator bob", first.sha256)
    assert (signed.row["decision"], signed.row["decided_by"], signed.replayed) == ("signed", "operator bob", False)


def test_what_is_signed_stays_as_it_is_whatever_happens_since(books: Books, decide: Close, stored: Settings) -> None:
    books.captured(1)
    first = take(books)
    decide(first, "operator ann")
    decide(first, "operator bob", first.sha256)
    books.captured(2, 3)
    second = take(books, at=LATER)
    assert second.sha256 != first.sha256
    for by, sha256 in (("operator ann", None), ("operator eve", None), ("operator eve", first.sha256)):
        shows = decide(second, by, sha256, now=LATER)
        assert (shows.replayed, shows.row["decided_by"], shows.row["sha256"]) == (True, "operator bob", first.sha256)
    assert refused(lambda: decide(second, "operator eve", second.sha256)).code == "refused"
    rows = read(stored, "doors", OF_DAY, {"day": DAY})
    assert [(row["decision"], row["decided_by"]) for row in rows] == [
        ("proposed", "operator ann"),
        ("signed", "operator bob"),
    ]
    assert {hashlib.sha256(row["report"].encode()).hexdigest() for row in rows} == {first.sha256}
    assert report_of(rows[-1])["taken_at"] == "2026-01-06T12:00:00+00:00"
    recon_close_replies.Close.model_validate(shown(rows[-1], LATER))


@pytest.mark.parametrize(
    "change",
    ["UPDATE recon_closes SET reason = 'x'", "DELETE FROM recon_closes", "TRUNCATE recon_closes"],
)
def test_the_store_lets_nobody_change_what_was_decided(
    books: Books, decide: Close, stored: Settings, change: Any
) -> None:
    decide(take(books), "operator ann")
    with psycopg.connect(stored.dsn("tally_doors"), options="-c search_path=doors") as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(change)
        conn.rollback()
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(
                "INSERT INTO recon_closes SELECT day, 2, 'signed', sha256, '{}', 'operator eve', reason, decided_at"
                " FROM recon_closes"
            )


def test_a_newer_report_of_the_proposer_takes_the_place_of_the_former(books: Books, decide: Close) -> None:
    first = take(books)
    decide(first, "operator ann")
    books.captured(1)
    second = take(books)
    assert decide(second, "operator ann").row["close_no"] == 2
    assert refused(lambda: decide(second, "operator bob", first.sha256)).code == "approval_stale"
    assert decide(second, "operator bob", second.sha256).row["sha256"] == second.sha256


def test_a_proposal_lasts_seven_days_and_then_anybody_proposes_anew(books: Books, decide: Close) -> None:
    first = take(books)
    proposed = decide(first, "operator ann")
    over = MORNING + timedelta(days=7)
    assert shown(proposed.row, over)["state"] == "expired"
    assert refused(lambda: decide(first, "operator bob", first.sha256, now=over)).code == "not_waiting"
    assert decide(first, "operator bob", now=over).row["close_no"] == 2
    assert Standing.of([], over) == Standing(None, None, 0)


def test_a_day_that_is_not_over_cannot_be_signed(books: Books, decide: Close) -> None:
    problem = refused(lambda: decide(take(books, at=NOW), "operator ann"))
    assert (problem.code, "2026-01-05 is not over" in problem.detail) == ("refused", True)


def test_a_day_whose_file_is_missing_cannot_be_signed_and_days_before_can(books: Books, decide: Close) -> None:
    late = timedelta(days=17)  # the file of the 12th is a week late
    books.room.misses_files(after=late)
    at = NOW + late
    problem = refused(lambda: decide(take(books, date(2026, 1, 12), at), "operator ann"))
    assert (problem.code, "adyen-eu: the file of 2026-01-12 is missing" in problem.detail) == ("refused", True)
    told = report(books, date(2026, 1, 12), at)
    [source] = [one for one in told["sources"] if one["source"] == "adyen-eu"]
    assert (source["missing"], source["missing_since"]) == (1, "2026-01-12")
    decide(take(books, date(2026, 1, 9), at), "operator ann")


def test_a_day_with_a_file_under_way_cannot_be_signed(books: Books, decide: Close) -> None:
    books.room.hear(File((), (), name="on its way").stored())
    problem = refused(lambda: decide(take(books), "operator ann"))
    assert "is still received" in problem.detail


def test_a_case_of_class_c_without_an_owner_holds_the_signature_even_of_the_second_person(
    books: Books, decide: Close
) -> None:
    before = take(books)
    decide(before, "operator ann")
    entry = Row(keys.theirs("main", "who knows"), 777, kind="s", settlement="st-1")
    books.settle(File((entry,), (("st-1", "EUR", 877),), source=BANK, opening=100))
    after = take(books)
    [why] = after.refusals
    assert why.startswith("UNEXPLAINED")
    assert "has no owner" in why
    assert refused(lambda: decide(after, "operator bob", before.sha256)).code == "refused"


@pytest.mark.parametrize(
    ("work", "holds"),
    [
        ("work = 'assigned', assignee = 'ann'", False),
        ("work = 'resolved'", False),
        ("work = 'assigned', assignee = ''", True),
    ],
)
def test_a_case_of_class_c_with_an_owner_or_that_is_resolved_is_carried_over(
    books: Books, decide: Close, work: str, holds: bool
) -> None:
    entry = Row(keys.theirs("main", "who knows"), 777, kind="s", settlement="st-1")
    books.settle(File((entry,), (("st-1", "EUR", 877),), source=BANK, opening=100))
    with books.room.store.transaction() as conn:
        conn.execute(f"UPDATE breaks SET {work} WHERE class = 'C'")
    what = take(books)
    assert bool(what.refusals) == holds
    if not holds:
        decide(what, "operator ann")
        [case] = [one for one in report(books)["carried_over"] if one["class"] == "C"]
        assert (case["code"], case["amount"], case["work"]) == ("UNEXPLAINED", "7.77", work.split("'")[1])


def test_the_report_counts_and_adds_up_absolute_values_and_what_is_not_due_stands_apart(books: Books) -> None:
    books.captured(2, 3)
    told = report(books)
    [receivable] = [one for one in told["clearing_totals"] if one["station"] == "receivable"]
    assert (receivable["not_due_tallies"], receivable["not_due"], receivable["late_tallies"]) == (2, "24.68", 0)
    [late] = [one for one in report(books, NOW.date() + timedelta(days=12), MORNING + timedelta(days=12))["clearing_totals"]
              if one["station"] == "receivable"]  # fmt: skip
    assert (late["not_due"], late["late_tallies"], late["late"]) == ("0.00", 2, "24.68")
    unknown = [one for one in told["clearing_totals"] if one["station"] == "unknown"]
    assert [(one["not_due_tallies"], one["not_due"]) for one in unknown] == [(1, "12.34")], "less than nothing, counted"
    books.settle(statement(paid=1200))
    told = report(books)
    assert [(one["psp"], one["kind"], one["fee"]) for one in told["fees"]] == [("northpay", "c", "0.34")]
    assert [(one["settlement"], one["at_the_bank"]) for one in told["settlements"]] == [
        ("238", "12.00"),
        ("st-1", None),
    ]
    assert sum(one["breaks"] for one in told["breaks"]) == len(told["carried_over"])
