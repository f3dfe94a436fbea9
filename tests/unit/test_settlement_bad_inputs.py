"""What goes wrong with files on their way, for every format that is CSV: refused by its code, or read as the same lines."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import pytest

from reconciliation import gate
from reconciliation.formats.shape import Reader, Refusal, RefusalCode
from tests.unit.settlement_reading import told
from tests.unit.test_settlement_fuzz import SOURCE, WHOLE, outcome

# Columns of amounts, times and currencies: in one of them each of these texts must be refused.
NO_NUMBERS = (
    "1_000",
    "１２",
    "+5",
    "1e3",
    ".5",
    "5.",
    "-0.00",
    "9" * 19,
    "1,000.00",
    "1.000,00",
    "12,5",
    " 12",
    "٣",
    "NaN",
)
AMOUNTS = {
    "adyen_settlement_details": "Net Credit (NC)",
    "adyen_payment_accounting": "Main Amount",
    "stripe_payout_reconciliation": "net",
    "stripe_balance_change": "net",
    "paypal_stl": "Gross Transaction Amount",
    "paypal_trr": "Gross Transaction Amount",
    "checkoutcom_settlement_breakdown": "Net In Holding Currency",
    "checkoutcom_financial_actions": "Holding Currency Amount",
    "checkoutcom_payouts": "Payout Amount",
    "native_csv": "net",
}
TIMES = {
    "adyen_settlement_details": ("Creation Date", "2026-02-30 10:00:00"),
    "adyen_payment_accounting": ("Booking Date", "2026-02-30 10:00:00"),
    "stripe_payout_reconciliation": ("created_utc", "2026-02-30 10:00:00"),
    "stripe_balance_change": ("created_utc", "2026-02-30 10:00:00"),
    "paypal_stl": ("Transaction Initiation Date", "2026/02/30 10:00:00 -0800"),
    "paypal_trr": ("Transaction Initiation Date", "2026/02/30 10:00:00 -0800"),
    "checkoutcom_settlement_breakdown": ("Processed On", "2026-02-30T10:00:00.000"),
    "checkoutcom_financial_actions": ("Processed On", "2026-02-30T10:00:00.000"),
    "checkoutcom_payouts": ("Payout Date", "2026-02-30T10:00:00.000"),
    "native_csv": ("at", "2026-02-30T10:00:00Z"),
}


TABLES = [reader for reader in gate.READERS if reader.name in AMOUNTS]
tables = pytest.mark.parametrize("reader", TABLES, ids=lambda reader: reader.name)


def records(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def joined(rows: list[list[str]]) -> bytes:
    found = io.StringIO()
    csv.writer(found, lineterminator="\n").writerows(rows)
    return found.getvalue().encode()


def with_cell(reader: Reader, column: str, text: str) -> bytes:
    """The whole file with another text in one column of its first row."""
    rows = records(WHOLE[reader.name])
    header = next(place for place, row in enumerate(rows) if column in row)
    rows[header + 1][rows[header].index(column)] = text
    return joined(rows)


def code_of(reader: Reader, data: bytes) -> RefusalCode | None:
    found = outcome(reader, data)
    return found.code if isinstance(found, Refusal) else None


def test_every_table_has_a_column_of_each_kind() -> None:
    """Whatever a PSP sends is a table."""
    assert AMOUNTS.keys() == TIMES.keys() == {reader.name for reader in gate.READERS if reader.of == "psp"}


@tables
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_plain_number_is_refused(reader: Reader, text: str) -> None:
    assert code_of(reader, with_cell(reader, AMOUNTS[reader.name], text)) == "bad_row"


@tables
def test_an_impossible_date_is_refused(reader: Reader) -> None:
    assert code_of(reader, with_cell(reader, *TIMES[reader.name])) == "bad_row"


@tables
def test_a_column_that_stands_there_twice_or_not_at_all_is_drift(reader: Reader) -> None:
    for name in ("", "Zeta"):
        rows = records(WHOLE[reader.name])
        header = next(row for row in rows if AMOUNTS[reader.name] in row)
        header[header.index(AMOUNTS[reader.name])] = name or header[header.index(AMOUNTS[reader.name]) - 1]
        assert code_of(reader, joined(rows)) == "schema_drift"


@tables
def test_two_exports_pasted_together_are_refused(reader: Reader) -> None:
    assert code_of(reader, WHOLE[reader.name] * 2) in ("bad_row", "wrong_format", "schema_drift")


@tables
def test_a_quote_that_is_never_closed_is_refused(reader: Reader) -> None:
    data = WHOLE[reader.name].rstrip(b"\r\n")
    assert code_of(reader, data + b'\n"never') in ("truncated", "bad_row")


@tables
def test_a_line_break_in_quotes_is_part_of_its_field_at_any_edge_of_a_block(reader: Reader) -> None:
    rows = records(WHOLE[reader.name])
    header = next(place for place, row in enumerate(rows) if AMOUNTS[reader.name] in row)
    for row, text in ((rows[header], "Remark"), *((row, "two\nlines") for row in rows[header + 1 :])):
        if len(row) >= len(rows[header]) - 1:
            row.append(text)
    found = [outcome(reader, joined(rows), size) for size in (1, 7, 64, 4096)]
    codes = [each.code if isinstance(each, Refusal) else each.lines for each in found]
    assert all(each == codes[0] for each in codes)


@tables
@pytest.mark.parametrize(("nasty", "code"), [(b"\0", "binary"), (b"\xff", "bad_encoding"), (b"\xc3", "bad_encoding")])
def test_bytes_that_are_no_text_are_refused(reader: Reader, nasty: bytes, code: RefusalCode) -> None:
    data = WHOLE[reader.name]
    assert code_of(reader, data[:-9] + nasty + data[-9:]) == code


@tables
def test_a_byte_order_mark_in_the_middle_is_no_new_file(reader: Reader) -> None:
    data = WHOLE[reader.name]
    assert isinstance(outcome(reader, data + b"\xef\xbb\xbf" + data), Refusal)


@tables
def test_a_file_that_ends_early_is_refused_or_has_fewer_lines(reader: Reader) -> None:
    whole = told(reader, WHOLE[reader.name], SOURCE)
    for part in range(1, 20):
        found = outcome(reader, WHOLE[reader.name][: len(WHOLE[reader.name]) * part // 20])
        assert isinstance(found, Refusal) or len(found.lines) < len(whole.lines)


@tables
def test_a_formula_or_escape_code_as_a_reference_is_text(reader: Reader) -> None:
    for text in ('=HYPERLINK("http://x")', "\x1b[31mred", "@cmd", "-1+1"):
        data = WHOLE[reader.name]
        rows = records(data)
        header = next(row for row in rows if AMOUNTS[reader.name] in row)
        column = next((name for name in header if name in REFERENCES), None)
        if column is None:
            continue
        found = outcome(reader, with_cell(reader, column, text))
        assert not isinstance(found, Refusal)


REFERENCES = ("Merchant Reference", "Psp Reference", "description", "Invoice ID", "Reference", "order_ref")
_READING = """
import sys, time
from reconciliation import gate
from tests.unit.test_settlement_fuzz import SOURCE, WHOLE
from reconciliation.formats.shape import Refusal
reader = next(reader for reader in gate.READERS if reader.name == sys.argv[1])
data = WHOLE[reader.name]
lines = data.splitlines(keepends=True)
place = next((n for n, line in enumerate(lines) if line.startswith(b'"SB"')), 2 if reader.name == "native_csv" else 1)
def blocks():
    yield b"".join(lines[:place])
    block = lines[place] * (65536 // len(lines[place]) + 1)
    for _ in range(64):
        yield block
    yield b"".join(lines[place:])
try:
    count = sum(1 for _ in reader.read(blocks(), SOURCE))
except Refusal as refusal:
    count = refusal.code
status = open("/proc/self/status").read()  # ru_maxrss has the parent's memory in it
print(status.partition("VmHWM:")[2].split()[0], time.process_time(), count)
"""


@tables
def test_four_megabytes_of_one_row_take_little_memory_and_time(reader: Reader) -> None:
    """Under 200 MB and 10 s of CPU, whether it is lines or a refusal."""
    said = subprocess.run([sys.executable, "-c", _READING, reader.name], capture_output=True, text=True, check=True)
    kilobytes, seconds, _ = said.stdout.split()
    assert int(kilobytes) < 200_000
    assert float(seconds) < 10
