"""Every number down to the bytes: a file that was stored and read → its lines, and what the file itself says, masked."""

from __future__ import annotations

from collections.abc import Iterator
from csv import reader
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from consumers.executor.consumer import build as build_executor
from operations.auditor.engine.stores import Stores
from operations.cli import recon_explained as shown
from operations.cli.timeline_settled import moments, settled
from operations.stack.settings import AllSettings
from producers import recon_explained, recon_lines, recon_replies
from producers.recon_lines import LinesAsked
from producers.recon_reports import Answer
from schemas.money import Money
from tests.captures import capture
from tests.reconciling import BANK, SOURCES, call_id
from tests.settlement_files import ADYEN, ADYEN_TAIL, adyen, camt053, detail, entry, paid_out, statement
from tests.settlement_files import settled as settled_row
from tests.store.finance import Books, ingested
from tests.store.hearing import Hearing
from tests.unit.executor_cases import order
from topics.settings import Settings

EVIL = '=HYPERLINK("x")\x1b[2J'
CARD = "4111111111111111"


@pytest.fixture
def books(stored: AllSettings) -> Iterator[Books]:
    books = Books(stored)
    yield books
    books.close()


def report(*numbers: int, order_ref: str = "") -> bytes:
    """An Adyen batch 7 of 100.00 each, of which 1.20 are fees, for the calls of these numbers."""
    rows = [
        settled_row(number, **{
            "merchant_reference": call_id(number), "modification_merchant_reference": call_id(number),
            "creation_date": "2026-01-05 10:25:36", "merchant_order_reference": order_ref,
        })
        for number in numbers
    ]  # fmt: skip
    paid = 98_80 * len(numbers)
    out = paid_out(f"{paid // 100}.{paid % 100:02d}", creation_date="2026-01-06 00:00:00")
    return adyen([*rows, out], [*ADYEN, *ADYEN_TAIL])


def explained(books: Books, of: str) -> Answer:
    found = books.walk(recon_explained.explained(of, SOURCES))
    recon_replies.Explained.model_validate(found)
    return found


def test_a_line_of_a_csv_is_explained_down_to_its_record_and_bytes(books: Books, tmp_path: Path) -> None:
    books.captured(1, 2)
    data = report(1, 2)
    file_id = ingested(books, SOURCES[0], data, tmp_path / "batch.csv")
    record = data.decode().splitlines()[2]
    [tally] = explained(books, call_id(2))["tallies"]
    [line] = tally["lines"]
    assert (line["line"], line["text"]) == (f"{file_id[:12]}:3", record)
    assert data[line["first_byte"] : line["last_byte"] + 1].decode().rstrip() == record
    found = explained(books, line["line"])
    [shown_line] = found["lines"]
    assert (shown_line["record"], shown_line["gross"], shown_line["fee"], shown_line["net"]) == (
        3,
        "100.00",
        "1.20",
        "98.80",
    )
    assert (shown_line["markup"], shown_line["scheme_fee"], shown_line["interchange"]) == ("0.20", "0.35", "0.65")
    assert (shown_line["counts"], shown_line["text"], shown_line["settlement"]) == (True, record, "7")
    assert [each["subject"] for each in found["tallies"]] == ["order-2"]
    assert not any(explained(books, f"{file_id[:12]}:{record}")["lines"] for record in (0, 1, 99))


def test_a_line_of_a_statement_is_its_element_and_a_pay_out_is_found_by_the_banks_reference(
    books: Books, tmp_path: Path
) -> None:
    entries = [entry("5.00", "DBIT", reference="B1"), entry("7.00", reference="B2", details=detail(text="ä"))]
    data = camt053(statement("10.00", "12.00", *entries))
    bank = BANK.model_copy(update={"accounts": frozenset()})
    ingested(books, bank, data, tmp_path / "camt.xml")
    for number, each in enumerate(entries, 1):
        [tally] = explained(books, f"B{number}")["tallies"]
        assert [line["text"] for line in tally["lines"]] == [each]
    [one] = explained(books, "bank-main/ST-7")["settlements"]
    assert (one["state"], one["net"]) == ("booked", "2.00")


def test_card_numbers_are_masked_and_no_output_runs_or_moves_anything(
    books: Books, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books.captured(1)
    data = report(1, order_ref=EVIL).replace(b"visaclassic", CARD.encode()).replace(b"TallyCompany", CARD.encode())
    file_id = ingested(books, SOURCES[0], data, tmp_path / "batch.csv")
    found = explained(books, f"{file_id}:2")
    page = books.walk(recon_lines.lines(LinesAsked("adyen-eu/7", 10)))
    shown.lines(found["lines"], as_csv=False)
    shown.tallies(found["tallies"], as_csv=False)
    texts = capsys.readouterr().out
    shown.lines(found["lines"], as_csv=True)
    shown.tallies(found["tallies"], as_csv=True)
    shown.lines(page.lines, as_csv=True)
    csv = capsys.readouterr().out
    for out in (texts, csv):
        assert "[card]" in out
        assert CARD not in out
        assert "\x1b" not in out
        assert "\\x1b[2J" in out
    assert not any(cell.startswith("=") for row in reader(csv.splitlines()) for cell in row)


def test_a_settlements_lines_are_listed_page_by_page_and_repeated_ones_do_not_count(
    books: Books, tmp_path: Path
) -> None:
    books.captured(*range(1, 6))
    file_id = ingested(books, SOURCES[0], report(*range(1, 6)), tmp_path / "batch.csv")
    whole = books.walk(recon_lines.lines(LinesAsked("adyen-eu/7/EUR", 10)))
    assert [(line["record"], line["kind"], line["counts"]) for line in whole.lines] == [
        *((record, "c", True) for record in range(2, 7)), (7, "p", True),
    ]  # fmt: skip
    assert books.walk(recon_lines.lines(LinesAsked(file_id[:8], 10))) == whole
    first = books.walk(recon_lines.lines(LinesAsked("adyen-eu/7", 4)))
    assert first.rest is not None
    last = books.walk(recon_lines.lines(LinesAsked("adyen-eu/7", 4, *first.rest)))
    assert (first.lines + last.lines, last.rest, len(last.lines)) == (whole.lines, None, 2)
    assert books.walk(recon_lines.lines(LinesAsked("adyen-eu/7/USD", 10))).lines == []
    assert [books.walk(recon_lines.lines(LinesAsked(of, 10))).known for of in ("adyen-eu/8", "f" * 64)] == [
        False,
        False,
    ]


def test_bytes_that_are_gone_and_lines_without_bytes_are_shown_without_them(books: Books, tmp_path: Path) -> None:
    books.captured(1)
    file_id = ingested(books, SOURCES[0], report(1), tmp_path / "batch.csv")
    with psycopg.connect(books.room.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        conn.execute("DELETE FROM file_chunks")
    [line] = explained(books, f"{file_id}:2")["lines"]
    assert (line["text"], line["gross"]) == (None, "100.00")


# ── tally show ───────────────────────────────────────────────────────────────────────────────────────────────────────


def states(settings: Settings, *ids: str) -> list[str]:
    with Stores(settings) as stores:
        parts = settled(settings, stores, ids)
    assert all(part.lines == () or moments([part]) for part in parts)
    return [part.state for part in parts]


def test_an_orders_money_is_followed_from_what_is_expected_to_the_bank(
    books: Books, stored: AllSettings, tmp_path: Path
) -> None:
    settings = books.room.settings
    executor = Hearing(stored, build_executor(stored), "x")
    executor.hears(order("order-1"))
    [call] = executor.rows("SELECT call_id FROM attempt_view")
    executor.store.close()
    assert states(settings, "order-1") == []
    money = {"gross": Money(100_00, "EUR"), "fee": Money(0, "EUR"), "net": Money(100_00, "EUR")}
    books.room.hear(capture("order-1", call_id=call["call_id"], **money))
    assert states(settings, "order-1") == ["expected by 2026-01-07"]
    data = report(1).replace(call_id(1).encode(), call["call_id"].encode())
    ingested(books, SOURCES[0], data, tmp_path / "batch.csv")
    tied = "settled in adyen-eu/7 of file batch.csv, paid out on 2026-01-06"
    assert states(settings, "order-1") == [f"{tied}, not at the bank yet"]
    bank = BANK.model_copy(update={"references": frozenset({r"batch (\d+)"}), "accounts": frozenset()})
    ingested(
        books,
        bank,
        camt053(statement("0.00", "98.80", entry("98.80", details=detail(text="batch 7")))),
        tmp_path / "c.xml",
    )
    assert states(settings, "order-1") == [f"{tied}, at the bank on 2026-02-11"]
    with Stores(settings) as stores:
        [part] = settled(settings, stores, ["order-1"])
    assert [moment.what for moment in moments([part])] == ["capture expected", "capture settled", "pay-out at the bank"]
    told = asdict(part)
    assert (told["lines"][0]["amount"], told["lines"][0]["fee"], told["bank"][0]["amount"]) == (
        "100.00",
        "1.20",
        "98.80",
    )


def test_without_sources_nothing_is_said_of_settlements(books: Books) -> None:
    assert states(books.room.settings.model_copy(update={"settlement_sources": ()}), "order-1") == []
