"""The two files that docs/bank-files.md shows ← the code that writes and reads them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from psp.pain001 import Debtor, FileHeader, write
from psp.pain002 import LineStatus, read
from psp.payout_port import Opened, Transfer
from schemas.money import Money
from simulator.banking import reading
from simulator.banking.reports import Report, ToldLine
from simulator.banking.reports import write as report_of

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILE_ID = "0f5b1c2ad9e84c53a1b7e6d2c4f80913"
CALLS = ("7a0c61f2b3d94e858fa2c1d07be36a11", "c2e94b17a06d4f3392d85e1f7ab04c62")
ANNA: Opened = {"type": "iban", "iban": "DE89370400440532013000", "holder": "Anna Müller & Söhne"}
ANN: Opened = {
    "type": "iban",
    "iban": "GB29NWBK60161331926819",
    "holder": "Ann Smith",
    "bic": "NWBKGB2L",
    "address": {"town": "London", "country": "GB", "street": "Baker St", "building": "221b", "postal_code": "NW1 6XE"},
}


def file() -> bytes:
    lines = [
        Transfer(CALLS[0], "po-7", Money(12_000, "EUR"), ANNA),
        Transfer(CALLS[1], "po-8", Money(4_999, "EUR"), ANN),
    ]
    debtor = Debtor("Marketplace GmbH", "DE02120300000000202051", "BYLADEM1001")
    at = datetime(2026, 12, 1, 13, 30, tzinfo=UTC)
    return b"".join(write(FileHeader(FILE_ID, at, date(2026, 12, 1), debtor, "EUR", 2, Money(16_999, "EUR")), lines))


def report() -> bytes:
    at_us = int(datetime(2026, 12, 1, 16, 5, tzinfo=UTC).timestamp()) * 1_000_000
    lines = [ToldLine(1, CALLS[0], 12_000, "ACSC", None), ToldLine(2, CALLS[1], 4_999, "RJCT", "AC04")]
    return report_of(Report("1-executed", at_us, FILE_ID, f"{FILE_ID}-1", "EUR", "PART", None, lines))


def test_the_files_that_the_docs_show_are_what_the_code_writes() -> None:
    assert (EXAMPLES / "pain.001.xml").read_bytes() == file()
    assert (EXAMPLES / "pain.002.xml").read_bytes() == report()


def test_the_simulated_bank_takes_the_example_and_we_read_its_answer() -> None:
    asked = reading.read(file())
    assert (asked.message_id, asked.payment_id, asked.total) == (FILE_ID, f"{FILE_ID}-1", 16_999)
    assert [(line.end_to_end, line.amount, line.text, line.refusal) for line in asked.lines] == [
        (CALLS[0], 12_000, "po-7", None),
        (CALLS[1], 4_999, "po-8", None),
    ]
    told = read(report())
    assert (told.message_id, told.group_status) == (FILE_ID, "PART")
    assert told.lines == [
        LineStatus(CALLS[0], "ACSC", None, Money(12_000, "EUR")),
        LineStatus(CALLS[1], "RJCT", "AC04", Money(4_999, "EUR")),
    ]
