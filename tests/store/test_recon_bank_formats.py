"""Files of banks in every format, as the simulator writes them, through the gate, the room and the ledger on real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operations.stack.settings import AllSettings
from producers import recon_lines
from producers.recon_lines import LinesAsked
from reconciliation.formats import keys
from reconciliation.formats.shape import Refusal
from schemas.money import Money
from simulator.settlements import bai, camt, nacha, swift
from simulator.settlements.bank import Entry, Statement
from tests.payouts import paid, submitted
from tests.reconciling import BANK, SOURCES, Row, call_id, paid_out
from tests.store.finance import Books, ingested

HOUSE = BANK.model_copy(update={"references": frozenset({r"batch (\d+), northpay-account"})})
DAYS = ("2026-01-06", "2026-01-07")
Write = Callable[[Sequence[Statement]], bytes]
STATEMENTS: dict[str, Write] = {
    "camt053": lambda statements: b"".join(camt.write(statements, 8)),
    "mt940": lambda statements: b"".join(swift.write_statement(statements)),
    "bai2": lambda statements: b"".join(bai.write(statements)),
}
NOTICES: dict[str, Write] = {
    "camt054": lambda statements: b"".join(camt.write_notification(statements)),
    "mt942": lambda statements: b"".join(swift.write_report(statements)),
}


@pytest.fixture
def books(stored: AllSettings) -> Iterator[Books]:
    books = Books(stored, (*SOURCES[:2], HOUSE))
    yield books
    books.close()


def closed_at(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T23:59:00").replace(tzinfo=UTC).timestamp()) * 1_000_000


def statements(currency: str = "EUR") -> list[list[Statement]]:
    """Of two days: a PSP's pay-out, one of ours, and what nobody knows; then a charge."""
    days = [
        [("a", 2_400, "", "batch 238, northpay-account"), ("b", -10_000, call_id(7), "pay-out"), ("c", 77, "", "?")],
        [("d", -150, "", "account keeping")],
    ]
    opening, made = 0, []
    for number, (day, told) in enumerate(zip(DAYS, days, strict=True), 1):
        entries = [Entry(fact, closed_at(day), amount, ref, text, "") for fact, amount, ref, text in told]
        closing = opening + sum(entry.amount for entry in entries)
        made.append([Statement("main", currency, number, day, closed_at(day), opening, closing, entries)])
        opening = closing
    return made


def prepared(books: Books) -> None:
    sent = [submitted(call_id=call_id(7)), paid(call_id=call_id(7))]
    books.room.hear(*sent)
    books.ledger.hears(*sent)
    books.settle(paid_out([Row("", 2_400, kind="j", name="j")], "238"))


def tallies(books: Books) -> dict[str, tuple[int, int, int]]:
    """At the bank, by key: expected, settled, how many lines."""
    wanted = "SELECT replace(key, '-', '') AS key, expected, settled, lines FROM tally_view WHERE kind = 's'"
    return {row["key"]: (row["expected"], row["settled"], row["lines"]) for row in books.room.rows(wanted)}


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_the_ledgers_bank_account_is_the_closing_balance(books: Books, tmp_path: Path, name: str, turned: bool) -> None:
    prepared(books)
    days = statements()
    for number, of_day in enumerate(reversed(days) if turned else days):
        ingested(books, HOUSE, STATEMENTS[name](of_day), tmp_path / f"{number}.txt")
    closing = Money(days[-1][0].closing, "EUR").amount
    proof = books.proof()
    assert proof["bank:main"] == (closing, closing)
    assert {account: sides for account, sides in proof.items() if sides[0] != sides[1]} == {}
    found = tallies(books)
    assert found[call_id(7)] == (-10_000, -10_000, 1)
    assert found[keys.paid_out("main", "238", "EUR")] == (2_400, 2_400, 1)
    assert {code for code, item in books.room.breaks() if "|s|" in item} == {"UNEXPLAINED"}


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
def test_what_a_notice_tells_beside_a_statement_is_counted_once(
    books: Books, tmp_path: Path, notice: str, first: bool
) -> None:
    prepared(books)
    day = statements()[0]
    files = [STATEMENTS["mt940"](day), NOTICES[notice](day)]
    named = [ingested(books, HOUSE, data, tmp_path / f"{len(data)}.txt") for data in (files[::-1] if first else files)]
    closing = Money(day[0].closing, "EUR").amount
    assert books.proof()["bank:main"] == (closing, closing)
    assert {lines for _, _, lines in tallies(books).values()} == {1}
    shown = books.walk(recon_lines.lines(LinesAsked(named[0 if first else 1], 10))).lines
    assert [(line["kind"], line["net"], line["counts"]) for line in shown] == [
        ("n", "24.00", False), ("n", "-100.00", False), ("n", "0.77", False),
    ]  # fmt: skip


@pytest.mark.parametrize("notice", NOTICES)
def test_a_notice_alone_books_nothing_and_breaks_nothing(books: Books, tmp_path: Path, notice: str) -> None:
    prepared(books)
    ingested(books, HOUSE, NOTICES[notice](statements()[0]), tmp_path / "n.txt")
    assert books.proof().get("bank:main", ("0.00", "0.00")) == ("0.00", "0.00")
    assert {(settled, lines) for _, settled, lines in tallies(books).values()} == {(0, 0)}
    assert not any("|s|" in item for _, item in books.room.breaks())


def test_a_return_is_tallied_with_its_payment_and_moves_no_money(books: Books, tmp_path: Path) -> None:
    sent = submitted(call_id=call_id(7), amount=Money(10_000, "USD"))
    books.room.hear(sent)
    books.ledger.hears(sent)
    day = DAYS[0]
    debit = Entry("b", closed_at(day), -10_000, call_id(7), "pay-out", "")
    statement = Statement("main", "USD", 1, day, closed_at(day), 0, -10_000, [debit])
    ingested(books, HOUSE, STATEMENTS["bai2"]([statement]), tmp_path / "s.bai")
    back = Entry("transfer:1:returned:1", closed_at(day), 10_000, call_id(7), "return", "")
    for number in range(2):  # the same return in two files
        data = b"".join(nacha.write([back], closed_at(DAYS[number])))
        ingested(books, HOUSE, data, tmp_path / f"{number}.ach")
    assert tallies(books) == {call_id(7): (-10_000, 0, 2)}
    assert books.proof()["bank:main"] == ("-100.00", "-100.00")


def test_a_day_in_two_formats_is_seen_in_proof_and_breaks(books: Books, tmp_path: Path) -> None:
    prepared(books)
    first = statements()[0]
    for name in ("mt940", "camt053"):
        ingested(books, HOUSE, STATEMENTS[name](first), tmp_path / name)
    ledger, explained = books.proof()["bank:main"]
    assert ledger != explained
    assert ("BANK_AMOUNT", f"main|s|{call_id(7)}") in books.room.breaks()
    only = HOUSE.model_copy(update={"format": "mt940"})
    with pytest.raises(Refusal, match="wrong_format"):
        ingested(books, only, STATEMENTS["camt053"](first), tmp_path / "refused.xml")
