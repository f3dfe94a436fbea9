"""The archive of closed tallies on a real database: what is moved, what comes back, and that no report changes by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.settlements import SUMS, compare, read_all
from operations.stack.settings import AllSettings
from producers import recon_explained, recon_fees, recon_reports
from producers.recon_lines import LinesAsked, lines
from reconciliation import archive
from reconciliation.breaking import break_id
from reconciliation.formats import keys
from schemas.break_work import BreakWorked
from schemas.events import PaymentDeclined
from schemas.money import Money
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.money_back import capture_reversed, opened, refunded, share
from tests.reconciling import BANK, SOURCES, Report, Row, call_id, paid_out
from tests.store.finance import Books, statement
from tests.store.hearing import NOW
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import Store
from topics.settings import Settings

OLD = timedelta(days=11)
LATE = timedelta(days=12)
MONTHS = timedelta(days=100)


@pytest.fixture
def books(stored: Settings) -> Iterator[Books]:
    books = Books(stored.model_copy(update={"settlement_sources": SOURCES}))
    yield books
    books.close()


def settled(*numbers: int, **rest: Any) -> Report:
    return paid_out([Row(call_id(number), 1234, 34) for number in numbers], **rest)


def archived(books: Books, after: timedelta = OLD) -> int:
    """All that may be moved so long after the start is. → how many tallies there are in the archive then"""
    while True:
        with books.room.store.transaction() as conn:
            if not archive.trim(conn, Retention(), NOW + after):
                [(count,)] = conn.execute("SELECT count(*) FROM tallies_done")
                return int(count)


def hot(books: Books) -> set[str]:
    """Numbers of the tallies that are not in the archive; pay-outs and the like have none."""
    with books.room.store.transaction() as conn:
        rows = conn.execute("SELECT key, kind FROM tallies WHERE kind <> 'p'").fetchall()
    return {f"{kind}{int(str(key).replace('-', ''), 16)}" for key, kind in rows if str(key).startswith("0000")}


def reports(books: Books) -> dict[str, Any]:
    """All that finance reads."""
    ask, walk = books.ask, books.walk
    found = ask(recon_reports.settlements(None, None, 100))["settlements"]
    keys = [call_id(number) for number in range(1, 10)]
    return {
        "settlements": ask(recon_reports.at_the_bank(found, SOURCES)),
        "clearing": [ask(recon_reports.clearing(None, (NOW + timedelta(days=day)).date())) for day in (0, 5, 50)],
        "proof": ask(recon_reports.proof(SOURCES)),
        "tallies": ask(recon_explained.tallies(keys)),
        "lines": walk(lines(LinesAsked("adyen-eu/238", 100))),
        "fees": walk(recon_fees.fees("northpay", "2026-01")),
        "sums": books.room.kept_sums(),
        "booked": books.room.booked(),
    }


def wrong(books: Books) -> dict[str, str]:
    """What the auditor finds: check → what it says."""
    settings = books.room.settings
    assert isinstance(settings, AllSettings)
    with Stores(settings) as stores:
        found = {each.check: str(each) for each in compare(read_all(stores, settings))}
        sums = check_sums(stores, SUMS, expected=False)
    return found | {each.name: each.detail for each in sums if not each.ok}


def test_what_is_moved_changes_no_report_by_a_byte_and_the_auditor_finds_nothing(books: Books) -> None:
    books.captured(1, 2, 3)
    books.settle(settled(1, 2, days=("2026-01-05", "2026-01-05")), statement())
    before = reports(books)
    assert archived(books) >= 3
    assert hot(books) == {"c3"}
    assert reports(books) == before
    assert books.room.kept_sums() == books.room.counted_sums()
    assert wrong(books) == {}


def test_only_what_is_closed_in_no_break_and_old_enough_is_moved(books: Books) -> None:
    books.captured(1, 2, 3, 4)
    books.room.hear(declined(5))
    short = Row(call_id(3), 1000, 34)
    books.settle(paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34), short, Row(call_id(9), 500, 5)]))
    with books.room.store.transaction() as conn:
        conn.execute("UPDATE tallies SET broken = true WHERE key = %s::uuid", [call_id(2)])
    assert archived(books, timedelta(days=10)) == 0, "on the tenth day it is not older than ten"
    archived(books)
    assert hot(books) == {"c2", "c3", "c4", "c9"}, "in a break, settled in part, not settled, unknown"


def test_what_waits_to_be_judged_stays_until_it_is(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    with books.room.store.transaction() as conn:
        conn.execute(
            "INSERT INTO odd SELECT 0, key, kind, currency, psp, %s FROM tallies WHERE kind = 'c'", [NOW + MONTHS]
        )
    archived(books)
    assert hot(books) == {"c1"}


def test_the_same_line_again_counts_once_though_its_tally_is_archived(books: Books) -> None:
    books.captured(1)
    row = Row(call_id(1), 1234, 34, name="row 1")
    books.settle(paid_out([row], identity="a", mode="union", days=("2026-01-05", "2026-01-05")))
    archived(books)
    before = books.room.booked()
    books.room.after = OLD
    books.settle(Report((row,), (), identity="b", mode="union"))
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (1234, 1234, 34)
    assert books.room.booked() == before
    assert {code for code, _ in books.room.breaks()} == {"PAYOUT_MISSING"}
    assert wrong(books) == {}


def test_a_second_line_of_an_archived_payment_meets_it_and_is_too_much(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    books.room.after = OLD
    books.settle(paid_out([Row(call_id(1), 1234, 34, settlement="239")], "239"))
    books.room.heard_all()
    books.settle(after=timedelta(hours=1))
    item = f"northpay|c|{call_id(1)}"
    assert {code for code, each in books.room.breaks() if each == item} == {"AMOUNT"}
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (1234, 2468, 68)
    archived(books, OLD + timedelta(days=1))
    assert "c1" in hot(books), "it is in a break"


def test_a_line_of_a_payment_that_was_declined_long_ago_is_no_stranger(books: Books) -> None:
    books.room.hear(declined(1))
    archived(books)
    assert hot(books) == set()
    books.room.after = OLD
    books.settle(settled(1))
    books.room.heard_all()
    books.settle(after=timedelta(hours=1))
    assert {code for code, item in books.room.breaks() if "|c|" in item} == {"STATUS_MISMATCH"}


def declined(number: int) -> PaymentDeclined:
    terms = capture(f"order-{number}").terms()
    return PaymentDeclined(**terms, psp="northpay", call_id=call_id(number), code="no")  # type: ignore[arg-type]


def test_a_restated_file_takes_an_archived_line_back(books: Books) -> None:
    books.captured(1, 2)
    versions = [
        paid_out(rows, identity="batch 238", version=version)
        for version, rows in (
            ("1", [Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]),
            ("2", [Row(call_id(1), 1234, 34), Row(call_id(2), 1230, 34)]),
        )
    ]
    books.settle(versions[0])
    assert archived(books) >= 2
    books.room.after = OLD
    books.settle(versions[1])
    assert books.room.tallies()["northpay", "c", call_id(2), "EUR"] == (1234, 1230, 34)
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (1234, 1234, 34)
    assert books.room.booked()["adyen-eu/238/EUR"]["bank_clearing EUR"] == 2396
    assert books.room.kept_sums() == books.room.counted_sums()


def test_a_discarded_file_takes_all_its_archived_lines_back(books: Books) -> None:
    books.captured(1, 2)
    file = settled(1, 2)
    books.settle(file)
    archived(books)
    books.room.after = OLD
    books.room.hear(
        SettlementFileDiscarded(source="adyen-eu", file_id=file.file_id, discarded_by="ann", reason="wrong source")
    )
    books.settle()
    assert books.room.tallies() == {("northpay", "c", call_id(n), "EUR"): (1234, 0, 0) for n in (1, 2)}
    assert all(not any(sides.values()) for sides in books.room.booked().values())


def test_what_takes_a_payment_back_after_months_meets_it_in_the_archive(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    books.room.after = MONTHS
    event = capture_reversed(None, share(1234, 34)).model_copy(update={"call_id": call_id(1)})
    books.room.hear(event)
    books.ledger.hears(event)
    books.settle()
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (0, 1234, 34)
    assert hot(books) == {"c1"}


def test_a_refund_and_a_dispute_after_months_are_settled_by_their_own_keys(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    books.room.after = MONTHS
    refund = refunded("r-1", share(500, 0)).model_copy(update={"call_id": call_id(7)})
    dispute = opened(share(400, 0)).model_copy(update={"dispute_reference": "d-1"})
    books.room.hear(refund, dispute)
    books.settle(paid_out([Row(call_id(7), -500, kind="r", settlement="240")], "240"))
    assert books.room.tallies()["northpay", "r", call_id(7), "EUR"] == (-500, -500, 0)
    assert not [code for code, _ in books.room.breaks() if code in ("MISSING_INTERNAL", "UNEXPECTED_REVERSAL")]


def test_an_event_that_is_published_again_after_months_counts_once(books: Books) -> None:
    event = capture("order-1", call_id=call_id(1))
    books.room.hear(event)
    digest = books.room.rows("SELECT facts FROM tally_view WHERE kind = 'c'")
    books.settle(settled(1))
    archived(books)
    with books.room.store.transaction() as conn:
        conn.execute("DELETE FROM inbox")  # as its retention does
    books.room.ids, again = [], books.room
    again.after = MONTHS
    again._count = 0  # under the id that it had
    again.hear(event, said_at=NOW)
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (1234, 1234, 34)
    assert books.room.rows("SELECT facts FROM tally_view WHERE kind = 'c'") == digest


def test_a_fact_of_an_archived_refusal_is_merged_with_it_once_something_asks(books: Books) -> None:
    """The capture is new and young: it asks nothing. A file's line of another currency does."""
    books.room.hear(declined(1))
    archived(books)
    books.room.after = OLD
    books.room.hear(capture("order-1", call_id=call_id(1)))
    assert len(books.room.rows("SELECT key FROM tally_view WHERE kind = 'c'")) == 2
    books.settle(paid_out([Row(call_id(1), 1300, 34, currency="USD")], currency="USD"))
    rows = books.room.rows("SELECT currency, expected, settled, outcome FROM tally_view WHERE kind = 'c' ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("EUR", 1234, 0, "declined"), ("USD", 0, 1300, None)]
    assert "CURRENCY" in {code for code, _ in books.room.breaks()}


def test_a_half_whose_other_half_is_in_this_months_partition_waits_for_the_next_month(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    _copy_back(books)
    archived(books, OLD + timedelta(days=1))
    assert hot(books) == {"c1"}
    archived(books, timedelta(days=31))
    assert hot(books) == set()


def _copy_back(books: Books) -> None:
    names = ", ".join(archive.COLUMNS)
    with books.room.store.transaction() as conn:
        conn.execute(f"INSERT INTO tallies ({names}) SELECT {names} FROM tallies_done WHERE kind = 'c'")


def test_what_is_paired_at_the_bank_stays(books: Books) -> None:
    """A twin may come, and all of one amount are paired anew."""
    books.captured(1)
    books.settle(settled(1))
    entry = Row(keys.theirs("main", "a name of the bank's"), 1200, kind="s", settlement="st-1")
    books.settle(Report((entry,), (("st-1", "EUR", 1300),), source=BANK, opening=100))
    archived(books)
    rows = _rows(books, "SELECT expected, settled FROM tallies WHERE kind = 's' ORDER BY settled")
    assert rows == [(0, 0), (1200, 1200)]
    assert "c1" not in hot(books)


def test_a_line_that_meets_a_tally_on_its_way_into_the_archive_waits_and_finds_it_there(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    found: list[int] = []

    def look() -> None:
        with closing(Store(books.room.settings, "reconciliation")) as store, store.transaction() as conn:
            found.append(archive.bring_back(conn, [(call_id(1), "c", "northpay")]))

    looking = threading.Thread(target=look)
    with books.room.store.transaction() as conn:
        assert archive.trim(conn, Retention(), NOW + OLD)
        looking.start()
        _wait_until_blocked(books.room.settings)
    looking.join()
    assert found == [1]
    assert hot(books) == {"c1"}


def _wait_until_blocked(settings: Settings) -> None:
    """Some connection waits for a lock of another one."""
    end = time.monotonic() + 20
    with psycopg.connect(settings.dsn("tally_reconciliation"), autocommit=True) as conn:
        while not conn.execute(_BLOCKED).fetchone():
            assert time.monotonic() < end, "nobody waits"


_BLOCKED = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


def test_two_halves_in_two_months_come_back_as_one_and_what_is_twice_counts_once(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    _copy_back(books)
    archived(books, MONTHS)
    assert len(books.room.rows("SELECT key FROM tally_view WHERE kind = 'c'")) == 2
    with books.room.store.transaction() as conn:
        assert archive.bring_back(conn, [(call_id(1), "c", "northpay")]) == 2
    [row] = books.room.rows("SELECT expected, settled, fee, facts, lines FROM tally_view WHERE kind = 'c'")
    assert row == {"expected": 1234, "settled": 1234, "fee": 34, "facts": 1, "lines": 1}


def test_two_processes_that_move_and_one_that_folds_leave_each_tally_once(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BLOCKS", 2)
    numbers = range(1, 301)
    books.room.hear(*(capture(f"order-{n}", call_id=call_id(n)) for n in numbers))
    books.settle(settled(*numbers, identity="a", mode="union"))
    before = books.room.tallies()
    again = Report(tuple(Row(call_id(n), 1234, 34) for n in numbers), (), identity="b", mode="union")
    failed: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        return run

    threads = [threading.Thread(target=guarded(lambda: _moving(books.room.settings))) for _ in range(2)]
    for each in threads:
        each.start()
    books.room.after = OLD
    books.settle(again)
    for each in threads:
        each.join()
    assert failed == []
    assert books.room.tallies() == before
    assert books.room.kept_sums() == books.room.counted_sums()
    assert wrong(books) == {} or set(wrong(books)) == {"receivables_expected"}, "the ledger heard no capture"


def _moving(settings: Settings) -> None:
    store = Store(settings, "reconciliation")
    for day in range(60):
        with store.transaction() as conn:
            archive.trim(conn, Retention(), NOW + OLD + timedelta(days=day // 3))
    store.close()


def test_a_partition_is_of_the_month_of_closing_and_is_dropped_after_its_time_and_the_sums_still_hold(
    books: Books,
) -> None:
    books.captured(1, 2, 3)
    books.settle(settled(1, 2, days=("2026-01-05", "2026-01-05")), statement())
    archived(books)
    books.settle(paid_out([Row(call_id(3), 1234, 34, settlement="239")], "239"))
    archived(books, timedelta(days=60))
    assert partitions(books) == ["tallies_done_202601", "tallies_done_202603"]
    proof, clearing = books.proof(), books.ask(recon_reports.clearing(None, NOW.date()))
    archived(books, timedelta(days=30 * 25))
    assert "tallies_done_202601" in partitions(books), "25 months are kept"
    archived(books, timedelta(days=31 * 26))
    assert "tallies_done_202601" not in partitions(books)
    assert "tallies_done_202603" in partitions(books)
    assert hot(books) == set()
    assert call_id(1) not in {key for _, _, key, _ in books.room.tallies()}
    assert (books.proof(), books.ask(recon_reports.clearing(None, NOW.date()))) == (proof, clearing)
    assert wrong(books) == {}


def partitions(books: Books) -> list[str]:
    with books.room.store.transaction() as conn:
        rows = conn.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'tallies_done'::regclass ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


def test_the_archive_has_all_columns_of_tallies_and_the_mover_takes_them_all(books: Books) -> None:
    with books.room.store.transaction() as conn:
        rows = conn.execute(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
            " AND attrelid IN ('tallies'::regclass, 'tallies_done'::regclass)"
        ).fetchall()
    of = {table: {name for each, name in rows if each == table} for table in ("tallies", "tallies_done")}
    assert of["tallies"] == set(archive.COLUMNS)
    assert of["tallies_done"] == set(archive.COLUMNS) | {"closed_on"}


def test_what_a_person_undoes_long_after_comes_back_first(books: Books) -> None:
    """A write-off makes a tally equal: it is closed, and archived like others."""
    books.captured(1)
    books.settle(paid_out([Row(call_id(1), 1200, 34)]), after=LATE)
    item = f"northpay|c|{call_id(1)}"
    assert ("AMOUNT", item) in books.room.breaks()
    asked: dict[str, Any] = {"subject": break_id("AMOUNT", item), "reason": "small"}
    made = {"operation_id": "op-1", "action": "write_off", "actor": "operator ann", "account": "platform:losses"}
    books.room.hear(BreakWorked(**asked, **made))
    books.room.settles(timedelta(minutes=1))
    assert ("AMOUNT", item) not in books.room.breaks()
    archived(books, LATE + OLD)
    assert hot(books) == set()
    [(correction,)] = _rows(books, "SELECT replace(correction_id::text, '-', '') FROM corrections")
    undo = {"operation_id": "op-2", "action": "undo", "actor": "operator ann", "correction_id": correction}
    books.room.after = LATE + OLD
    books.room.hear(BreakWorked(**asked, **undo))
    books.room.settles(timedelta(minutes=1))
    assert hot(books) == {"c1"}
    assert books.room.tallies()["northpay", "c", call_id(1), "EUR"] == (1234, 1200, 34)
    assert ("AMOUNT", item) in books.room.breaks()


def test_what_a_person_matches_a_line_with_is_looked_up_in_the_archive(books: Books) -> None:
    books.captured(1)
    books.settle(settled(1))
    archived(books)
    books.room.after = OLD
    books.settle(paid_out([Row(call_id(9), 1234, 34, settlement="239")], "239"))
    books.room.heard_all()
    books.settle(after=timedelta(hours=1))
    case = break_id("MISSING_INTERNAL", f"northpay|c|{call_id(9)}")
    match: dict[str, Any] = {"operation_id": "op-1", "action": "match", "actor": "operator ann", "reason": "the same"}
    books.room.hear(BreakWorked(subject=case, expectations=(f"northpay|c|{call_id(1)}",), **match))
    assert "c1" in hot(books)


def _rows(books: Books, statement: LiteralString) -> list[Any]:
    with books.room.store.transaction() as conn:
        return conn.execute(statement).fetchall()


def test_money_of_two_currencies_comes_back_together(books: Books) -> None:
    books.room.hear(
        capture("order-1", call_id=call_id(1)),
        capture("order-1", call_id=call_id(1), gross=Money(99, "USD"), fee=Money(0, "USD"), net=Money(99, "USD")),
    )
    usd = Row(call_id(1), 99, currency="USD")
    books.settle(settled(1), paid_out([usd], currency="USD"))
    archived(books)
    assert hot(books) == set()
    with books.room.store.transaction() as conn:
        assert archive.bring_back(conn, [(call_id(1), "c", "northpay")]) == 2
    assert hot(books) == {"c1"}
