"""The CSV of our own (docs/settlement-csv.md) → lines and a control; or the refusal of the whole file."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal, RefusalCode
from schemas.money import Money
from tests.settlement_files import NATIVE_HEADER, call, native, native_row

SOURCE = ReadFrom("southpay", "southpay", accounts=frozenset({"southpay-eu"}))
CAPTURE = native_row(
    "capture", "100.00", "1.40", "98.60", our_ref=call(1), psp_ref="8F1", order_ref="po_1", markup="1.40"
)
REFUND = native_row("refund", "-25.00", "0.10", "-25.10", psp_ref="8F3")
FEE = native_row("fee", "0.00", "2.50", "-2.50")
PAYOUT = native_row("payout", "-71.00", "0.00", "-71.00", payout_ref="1042")
ROWS = (CAPTURE, REFUND, FEE, PAYOUT)


def read(data: bytes) -> tuple[Chunk, Control]:
    chunk, control = gate.read([data], SOURCE)
    assert isinstance(chunk, Chunk)
    assert isinstance(control, Control)
    return chunk, control


def refused(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as error:
        list(gate.read([data], SOURCE))
    return error.value


def test_a_settlement_is_read_row_by_row() -> None:
    chunk, control = read(native(*ROWS))
    found = chunk.lines
    assert (found.kinds, found.gross, found.net) == ("crfp", [10_000, -2_500, 0, -7_100], [9_860, -2_510, -250, -7_100])
    assert (found.fees, found.markups[0], found.commissions) == ([140, 10, 250, 0], 140, [0, 10, 250, 0])
    assert found.keys == call(1) + keys.theirs("southpay", "8F3") + "0" * 64
    assert (found.psp_refs[3], chunk.first_line, chunk.settlements) == ("1042", 3, ("1042",))
    assert (control.identity, control.first_day, control.last_day, control.lines) == (
        "settlement 1042 of southpay-eu in EUR", "2026-02-10", "2026-02-11", 4,
    )  # fmt: skip
    assert [(claim.settlement, claim.amount) for claim in control.claims] == [("1042", Money(7_100, "EUR"))]
    assert [(each.net, each.paid, each.ties) for each in control.sums] == [(7_100, 7_100, True)]


def test_a_settlement_whose_rows_do_not_come_to_nothing_is_read_and_does_not_tie() -> None:
    assert [each.ties for each in read(native(CAPTURE, total="98.60"))[1].sums] == [False]


def test_another_currency_is_taken_at_its_rate_to_the_last_digit() -> None:
    def row(net: str) -> str:
        return native_row("capture", "250.00", "0.46", net, currency="SEK", fx_rate="0.08694")

    found = read(native(row("21.28"), native_row("carried", "-21.28", "0", "-21.28")))[0].lines
    assert (found.gross[0], found.rates[0], found.kinds) == (25_000, "0.08694", "ct")
    assert refused(native(row("21.29"), total="21.29")).code == "row_does_not_tie"


def test_equal_rows_are_as_many_lines() -> None:
    assert len(set(read(native(FEE, FEE, total="-5.00"))[0].lines.digests)) == 2


def test_the_documented_example_ties() -> None:
    page = Path("docs/settlement-csv.md").read_text(encoding="utf-8")
    example = page.split("```csv\n")[1].split("```")[0]
    assert [each.ties for each in read(example.encode())[1].sums] == [True]


GOOD = native(*ROWS)


@pytest.mark.parametrize(
    ("data", "code", "line", "column"),
    [
        (GOOD.replace(b"southpay-eu", b"northpay"), "wrong_account", 1, "account"),
        (GOOD.replace(b"settlement,1,", b"settlement,2,"), "schema_drift", 1, None),
        (GOOD.replace(b",2026-02-11\n", b",2026-02-31\n"), "bad_row", 1, "period to"),
        (GOOD.replace(b"1042,EUR,2026", b"1042,eur,2026"), "bad_row", 3, "net_currency"),
        (NATIVE_HEADER.encode(), "schema_drift", 1, "kind"),
        (GOOD.replace(b"fx_rate", b"rate"), "schema_drift", 2, "fx rate"),
        (GOOD.replace(b"capture,", b"captured,"), "schema_drift", 3, "kind"),
        (GOOD.replace(b"capture,", b"bank_entry,"), "schema_drift", 3, "kind"),
        (GOOD.replace(b"capture,", b"noted,"), "schema_drift", 3, "kind"),
        (GOOD.replace(b"+01:00", b"", 1), "bad_row", 3, "at"),
        (GOOD.replace(b"98.60", b"+98.60"), "bad_row", 3, "net"),
        (GOOD.replace(b"0.00,2.50", b"-0.00,2.50"), "bad_row", 5, "gross"),
        (GOOD.replace(b",EUR,1042", b",USD,1042"), "bad_row", 6, "net_currency"),
        (GOOD.replace(b"98.60", b"98.61"), "row_does_not_tie", 3, None),
        (GOOD.replace(b"1.40,,,", b"1.39,,,"), "row_does_not_tie", 3, None),
        (GOOD[: GOOD.index(b"trailer")], "truncated", None, None),
        (GOOD + CAPTURE.encode(), "bad_row", 8, None),
        (GOOD.replace(b"trailer,4", b"trailer,3"), "bad_count", 7, None),
        (GOOD.replace(b"trailer,4", b"trailer,x"), "bad_row", 7, None),
        (GOOD.replace(b"4,0.00", b"4,0.01"), "bad_total", 7, None),
        (native(CAPTURE, FEE, PAYOUT, total="0.00"), "bad_total", 6, None),
        (GOOD.replace(b"98.60", b"98.601"), "wrong_decimals", 3, "net"),
    ],
)
def test_a_settlement_that_is_not_whole_is_refused_with_its_place(
    data: bytes, code: RefusalCode, line: int | None, column: str | None
) -> None:
    refusal = refused(data)
    assert (refusal.code, refusal.line, refusal.column) == (code, line, column)
