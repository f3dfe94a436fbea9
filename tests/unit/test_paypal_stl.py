"""PayPal's settlement report → lines, and what its footers say of them, or the reason it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import pytest

from reconciliation.formats.keys import theirs
from reconciliation.formats.paypal_codes import GROUPS, kind_of
from reconciliation.formats.paypal_stl import PayPalStl
from reconciliation.formats.shape import KINDS, NO_KEY, ReadFrom, SettlementSum
from schemas.money import Money
from tests.unit.settlement_reading import SOURCE, Told, refused, told

READER = PayPalStl()
CALL = "0d6f3a1e5b7c49d28a90c4e1f2b3a495"
COLUMNS = (
    *("Transaction ID", "Invoice ID", "PayPal Reference ID", "PayPal Reference ID Type", "Transaction Event Code"),
    *("Transaction Initiation Date", "Transaction Completion Date", "Transaction Debit or Credit"),
    *("Gross Transaction Amount", "Gross Transaction Currency", "Fee Debit or Credit", "Fee Amount", "Fee Currency"),
    *("Custom Field", "Consumer ID", "Payment Tracking ID", "Store ID", "Bank Reference ID"),
    *("Credit Transactional Fee", "Credit Promotional Fee", "Credit Term"),
)


class Row(NamedTuple):
    """Amounts in hundredths; + is a credit."""

    id: str
    code: str
    gross: int
    fee: int = 0
    currency: str = "EUR"
    custom: str = ""
    invoice: str = ""
    at: str = "2026/11/28 08:57:17 -0800"


def record(*fields: str) -> str:
    return ",".join(fields)


def text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def transaction(row: Row) -> str:
    fee = ('""', "", '""') if not row.fee else (sign(row.fee), str(abs(row.fee)), text(row.currency))
    ids = (row.id, row.invoice, "", "TXN", row.code)
    gross = (sign(row.gross), str(abs(row.gross)), text(row.currency))
    rest = ('""', '""', '""', '""', "", "", "")
    return record('"SB"', *map(text, ids), row.at, row.at, *gross, *fee, text(row.custom), *rest)


def sign(amount: int) -> str:
    return '"CR"' if amount >= 0 else '"DR"'


def footers(kind: str, rows: Sequence[Row]) -> list[str]:
    found = []
    for currency in sorted({row.currency for row in rows}):
        of = [row for row in rows if row.currency == currency]
        sums = [
            sum(amount for row in of if (amount := side * getattr(row, name)) > 0)
            for name in ("gross", "fee")
            for side in (1, -1)
        ]
        found.append(record(text(kind), text(currency), *map(str, sums), *['"CR",0'] * 6, str(len(of))))
    return found


def section(rows: Sequence[Row], account: str = "ACC1", day: str = "2026/11/28") -> list[str]:
    return [
        record('"SH"', f"{day} 00:00:00 -0800", f"{day} 23:59:59 -0800", text(account), '""'),
        record('"CH"', *map(text, COLUMNS)),
        *map(transaction, rows),
        *footers("SF", rows),
        record('"SC"', str(len(rows))),
    ]


def report(*sections: Sequence[Row], part: str = "01", made_at: str = "2026/11/29 02:21:10 -0800") -> list[str]:
    rows = [row for each in sections for row in each]
    return [
        record('"RH"', made_at, '"A"', '"ACC1"', "009", ""),
        record('"FH"', part),
        *(line for number, each in enumerate(sections, 1) for line in section(each, f"ACC{number}")),
        *footers("RF", rows),
        record('"RC"', str(len(rows))),
        record('"FF"', str(len(rows))),
    ]


def bytes_of(lines: Sequence[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n").encode()


PAID = Row("TX1", "T0006", 100_00, -3_40, custom=CALL, invoice="po_7Qm2")
REFUNDED = Row("TX2", "T1107", -25_00, 75, custom="91c2e4f6a8b04d3c9e7f5a1b2c3d4e5f")
WITHDRAWN = Row("TX3", "T0400", -50_00)
DAY = (PAID, REFUNDED, WITHDRAWN)


def read(*rows: Row, source: ReadFrom = SOURCE) -> Told:
    return told(READER, bytes_of(report(rows)), source)


def changed(old: str, new: str, lines: Sequence[str] = ()) -> bytes:
    data = bytes_of(lines or report(DAY)).decode()
    assert old in data
    return data.replace(old, new).encode()


# ── lines ──


def test_a_payment_has_our_call_its_amounts_and_times() -> None:
    [line] = read(PAID).lines
    assert (line.kind, line.key, line.psp_ref, line.order_ref) == ("c", CALL, "TX1", "po_7Qm2")
    assert (line.gross, line.fee, line.net, line.net_currency) == (100_00, 3_40, 96_60, "EUR")
    assert line.at == int(datetime(2026, 11, 28, 16, 57, 17, tzinfo=UTC).timestamp())
    assert line.value_day == (date(2026, 11, 28) - date(1970, 1, 1)).days
    assert line.settlement == "ACC1:2026-11-28"


def test_debit_or_credit_is_the_sign_of_gross_and_of_the_fee_each_for_itself() -> None:
    line = read(REFUNDED).lines[0]
    assert (line.kind, line.gross, line.fee, line.net) == ("r", -25_00, -75, -24_25)


@pytest.mark.parametrize(
    ("custom", "invoice", "key"),
    [
        (CALL, "", CALL),
        ("", CALL, CALL),
        (CALL, "91c2e4f6a8b04d3c9e7f5a1b2c3d4e5f", CALL),
        ("x", "po_7", theirs("psp", "TX1")),
        (CALL.upper(), "", theirs("psp", "TX1")),
    ],
)
def test_our_call_is_the_custom_field_or_the_invoice(custom: str, invoice: str, key: str) -> None:
    assert read(PAID._replace(custom=custom, invoice=invoice)).lines[0].key == key


def test_a_chargeback_is_known_by_its_own_id() -> None:
    lines = read(Row("D1", "T1201", -10_00, -15_00, custom=CALL), Row("D1", "T1202", 10_00)).lines
    assert [(line.kind, line.key) for line in lines] == [("b", theirs("psp", "D1")), ("B", theirs("psp", "D1"))]


def test_a_fee_by_itself_is_a_fee_on_nothing() -> None:
    line = read(Row("F1", "T0106", -15_00)).lines[0]
    assert (line.kind, line.gross, line.fee, line.net, line.key) == ("f", 0, 15_00, -15_00, NO_KEY)


def test_a_conversion_is_a_line_in_each_currency() -> None:
    lines = read(Row("X1", "T0200", -2_11, currency="USD"), Row("X2", "T0200", 11_62, currency="BRL")).lines
    assert [(line.kind, line.net, line.net_currency) for line in lines] == [("x", -2_11, "USD"), ("x", 11_62, "BRL")]


def test_all_amounts_are_hundredths_those_of_yen_too() -> None:
    assert read(Row("J1", "T0006", 100_00, -4_00, currency="JPY")).lines[0].gross == 100
    refusal = refused(READER, bytes_of(report([Row("J1", "T0006", 100_50, currency="JPY")])))
    assert (refusal.code, refusal.line) == ("wrong_decimals", 5)


@pytest.mark.parametrize(
    ("code", "credit", "debit"),
    [
        ("T0000", "c", "u"),
        ("T0013", "c", "u"),
        ("T0114", "f", "f"),
        ("T0201", "x", "x"),
        ("T0400", "p", "p"),
        ("T1101", "q", "q"),
        ("T1106", "c", "c"),
        ("T1110", "H", "h"),
        ("T1207", "2", "2"),
        ("T1900", "j", "j"),
        ("T2103", "H", "h"),
    ],
)
def test_a_code_says_what_moved_and_for_some_its_direction_does_too(code: str, credit: str, debit: str) -> None:
    assert (kind_of(code, True), kind_of(code, False)) == (credit, debit)


@pytest.mark.parametrize("code", ["T1300", "T9800", "T000", "T00０1", "X0001", "T00001", ""])
def test_an_unknown_code_makes_the_file_drift(code: str) -> None:
    refusal = refused(READER, bytes_of(report([PAID, Row("U1", code, 1)])))
    assert (refusal.code, refusal.line, refusal.column) == ("schema_drift", 6, "transaction event code")


def test_every_group_has_kinds_that_lines_have() -> None:
    assert {kind for kinds in GROUPS.values() for kind in kinds} <= KINDS.keys()


def test_equal_rows_are_two_lines_and_come_again_as_the_same_two() -> None:
    twins = read(PAID, PAID)
    assert len({*twins.digests()}) == 2
    assert read(PAID, PAID, REFUNDED).digests()[:2] == twins.digests()


def test_transactions_without_an_id_are_known_by_all_that_they_say() -> None:
    fees = [Row("", "T0106", -15_00), Row("", "T0106", -16_00), Row("", "T0106", -15_00)]
    assert len({*read(*fees).digests()}) == 3
    assert {*read(*reversed(fees)).digests()} == {*read(*fees).digests()}


def test_a_transaction_of_another_day_or_direction_is_another_line() -> None:
    there = told(READER, changed("2026/11/28 00:00:00", "2026/11/27 00:00:00"))
    assert not {*there.digests()} & {*read(*DAY).digests()}
    assert len({*read(Row("A", "T1106", 1), Row("A", "T1106", -1), Row("A", "T1900", 1)).digests()}) == 3


# ── footers ──


def test_a_day_ties_by_its_footers_and_claims_what_was_not_paid_out_before() -> None:
    control = read(*DAY).control
    assert control.sums == (SettlementSum("ACC1:2026-11-28", "EUR", 72_35, 50_00, True),)
    [claim] = control.claims
    assert (claim.settlement, claim.amount) == ("ACC1:2026-11-28", Money(72_35, "EUR"))
    assert claim.kept == Money(22_35, "EUR"), "what is not paid out stays with PayPal"
    assert control.totals == {"EUR": 22_35}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"SF","EUR",10000,', '"SF","EUR",10001,', "bad_total"),
        ('"SF","EUR",10000,7500,75,340', '"SF","EUR",10000,7500,75,341', "bad_total"),
        ('"RF","EUR",10000,7500,', '"RF","EUR",10000,7400,', "bad_total"),
        ('"SC",3', '"SC",2', "bad_count"),
        ('"RC",3', '"RC",4', "bad_count"),
        ('"FF",3', '"FF",2', "bad_count"),
        ('0,3\r\n"SC"', '0,2\r\n"SC"', "bad_count"),
        ('"SF","EUR"', '"SF","USD"', "truncated"),
        ('"RF","EUR"', '"RF","USD"', "truncated"),
        ('"FF",3\r\n', "", "truncated"),
        ('"RC",3\r\n"FF",3\r\n', "", "truncated"),
    ],
)
def test_a_file_whose_footers_are_not_those_of_its_transactions_is_refused(old: str, new: str, code: str) -> None:
    assert refused(READER, changed(old, new)).code == code


def test_a_refusal_says_both_totals() -> None:
    refusal = refused(READER, changed('"SF","EUR",10000,', '"SF","EUR",10001,'))
    assert "100.01 EUR" in refusal.detail
    assert "100.00 EUR" in refusal.detail


def test_two_persons_may_release_a_wrong_total_and_it_still_does_not_tie() -> None:
    released = ReadFrom("main", "psp", released=frozenset({"bad_total"}))
    control = told(READER, changed('EUR",10000,', 'EUR",10001,'), released).control
    assert [each.ties for each in control.sums] == [False]
    assert [claim.amount for claim in control.claims] == [Money(72_36, "EUR")]


def test_each_currency_has_footers_of_its_own() -> None:
    control = read(PAID, PAID._replace(id="TX9", currency="USD", gross=7_00, fee=0)).control
    assert [(each.currency, each.net, each.ties) for each in control.sums] == [
        ("EUR", 96_60, True),
        ("USD", 7_00, True),
    ]


def test_a_section_is_a_settlement_of_its_account() -> None:
    control = told(READER, bytes_of(report([PAID], [REFUNDED]))).control
    assert [each.settlement for each in control.sums] == ["ACC1:2026-11-28", "ACC2:2026-11-28"]
    assert control.account_ids == ("ACC1", "ACC2")


def test_a_day_without_transactions_is_a_whole_file() -> None:
    control = read().control
    assert (control.lines, control.sums, control.first_day) == (0, (), "2026-11-28")


def test_a_footer_of_an_older_version_has_fewer_balances() -> None:
    lines = [
        line.replace('"CR",0,"CR",0,"CR",0,"CR",0,"CR",0,"CR",0,', '"CR",0,"CR",0,"CR",0,"CR",0,')
        for line in report(DAY)
    ]
    assert told(READER, bytes_of(lines)).lines == read(*DAY).lines


# ── identity and parts ──


def test_a_file_is_known_by_account_day_and_part_and_a_newer_one_is_greater() -> None:
    first = told(READER, bytes_of(report(DAY))).control
    second = told(READER, bytes_of(report(DAY, made_at="2026/11/29 03:00:00 -0800"))).control
    late = told(READER, bytes_of(report(DAY, made_at="2026/11/30 01:00:00 +0100"))).control
    assert first.identity == second.identity == "ACC1 2026-11-28 part 1"
    assert first.version < second.version < late.version
    assert first.version.startswith("009 ")


@pytest.mark.parametrize(
    "made_at", ["0001/01/01 00:00:00 +1200", "9999/12/31 23:00:00 -1200", "2026/02/30 00:00:00 +0000"]
)
def test_a_report_that_was_made_at_no_time_is_refused(made_at: str) -> None:
    refusal = refused(READER, bytes_of(report(DAY, made_at=made_at)))
    assert (refusal.code, refusal.line) == ("bad_row", 1)


def test_a_report_in_parts_is_a_file_each_and_the_last_claims_the_sums_of_all() -> None:
    whole = report(DAY)
    first = [*whole[:5], '"FF",1']
    second = ['"FH",02', *whole[2:4], *whole[5:-1], '"FF",2']
    one, two = (told(READER, bytes_of(lines)) for lines in (first, second))
    assert [part.control.identity for part in (one, two)] == ["ACC1 2026-11-28 part 1", "ACC1 2026-11-28 part 2"]
    assert [*one.digests(), *two.digests()] == read(*DAY).digests()
    assert one.control.claims == ()
    assert two.control.claims == read(*DAY).control.claims
    assert [each.ties for part in (one, two) for each in part.control.sums] == [False, False]


# ── what is refused ──


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"CR",10000,', '"CR",100.00,', 5),
        ('"CR",10000,', '"CR",-10000,', 5),
        ('"CR",10000,', '"CR",1_0000,', 5),
        ('"CR",10000,', '"CR",１0000,', 5),
        ('"CR",10000,', '"CR",,', 5),
        ('"CR",10000,', '"",10000,', 5),
        ('"CR",10000,', '"C",10000,', 5),
        ('"CR",10000,', f'"CR",{"1" * 19},', 5),
        ('340,"EUR"', '340,"USD"', 5),
        ('"T0006",2026/11/28 08', '"T0006",2026/02/30 08', 5),
        ('"T0006",2026/11/28 08:57:17 -0800', '"T0006",2026/11/28 08:57:17', 5),
        ('"T0006",2026/11/28 08:57:17 -0800', '"T0006",2026/11/28 08:57:17 XYZ', 5),
        ('"SB","TX2",', '"SB",', 6),
        ('"SC",3', '"SC",three', 9),
        ('"FH",01', '"FH",', 2),
        ('"FF",3\r\n', '"FF",3\r\n"SB","TX9"\r\n', 13),
        ('"RC",3\r\n', "", 11),
    ],
)
def test_a_record_that_cannot_be_read_refuses_the_file_and_names_its_line(old: str, new: str, line: int) -> None:
    refusal = refused(READER, changed(old, new))
    assert (refusal.code, refusal.line) == ("bad_row", line)


def test_a_record_of_an_unknown_type_makes_the_file_drift() -> None:
    assert refused(READER, changed('"SC",3', '"SX",3')).code == "schema_drift"
    assert refused(READER, b"a,b\n1,2\n").code == "wrong_format"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Fee Amount"', '"Fees"'),
        ('"Fee Amount"', '"Fee Currency"'),
        ('"Store ID"', '"Sales Tax Amount"'),
        ('"Custom Field",', '"Custom",'),
    ],
)
def test_columns_that_we_may_misread_make_the_file_drift(old: str, new: str) -> None:
    refusal = refused(READER, changed(old, new))
    assert (refusal.code, refusal.line) == ("schema_drift", 4)


def test_columns_are_found_by_name_with_any_blanks() -> None:
    assert told(READER, changed("Transaction Debit", "Transaction  Debit")).lines == read(*DAY).lines


def test_a_section_of_an_account_that_is_not_the_sources_is_refused() -> None:
    allowed = ReadFrom("main", "psp", accounts=frozenset({"ACC1"}))
    assert read(*DAY, source=allowed).control.account_ids == ("ACC1",)
    assert refused(READER, bytes_of(report(DAY, DAY)), allowed).code == "wrong_account"


def test_sums_beyond_64_bits_are_refused() -> None:
    rows = [Row("L", "T0006", 10**15 - 1)] * 9_300
    refusal = refused(READER, bytes_of(report(rows)).replace(str(9_300 * (10**15 - 1)).encode(), b"9" * 15))
    assert (refusal.code, refusal.detail) == ("bad_total", "a sum has more than 64 bits")


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + bytes_of(report(DAY)),
        bytes_of(report(DAY)).decode().encode("utf-16"),
        b"\xfe\xff" + bytes_of(report(DAY)).decode().encode("utf-16-be"),
        bytes_of(report(DAY)).replace(b"\r\n", b"\n"),
        bytes_of(report(DAY)).replace(b'"', b""),
        bytes_of(report(DAY))[:-2],
    ],
    ids=["a mark", "UTF-16", "UTF-16 of the other order", "LF", "no quotes", "no last line end"],
)
def test_encodings_line_ends_and_quotes_change_nothing(data: bytes) -> None:
    assert told(READER, data).lines == read(*DAY).lines
    assert READER.sniff(data, "report.csv") > 90


@pytest.mark.parametrize("block", [1, 2, 3, 64, 65_536])
def test_a_text_may_hold_quotes_commas_and_line_ends_at_the_edge_of_any_block(block: int) -> None:
    lines = report([PAID._replace(invoice='a "b",\nc'), REFUNDED])
    assert [line.order_ref for line in told(READER, bytes_of(lines), block=block).lines] == ['a "b",\nc', ""]


def test_a_byte_order_mark_in_the_middle_is_no_record() -> None:
    assert refused(READER, bytes_of(report(DAY)) + b"\xef\xbb\xbf" + bytes_of(report(DAY))).line == 13


def test_a_withdrawal_has_what_the_bank_will_show() -> None:
    data = changed('"TXN","T0400"', '"","T0400"').decode()
    [row] = [line for line in data.splitlines() if '"T0400"' in line]
    shown = data.replace(row, row.removesuffix('"",,,') + '"TX7XT",,,').encode()
    assert told(READER, shown).lines[2].order_ref == "TX7XT"


@pytest.mark.parametrize("account", ["", "A C", "x" * 65])
def test_what_is_no_account_names_no_settlement(account: str) -> None:
    assert refused(READER, changed('-0800,"ACC1"', f'-0800,"{account}"')).code == "wrong_account"


def test_a_transaction_detail_report_is_no_settlement_report() -> None:
    other = changed('"Store ID"', '"Transactional Status"')
    assert READER.sniff(other, "TRR-20261128.01.009.CSV") == 0
    assert READER.sniff(b'"CH","Transaction ID"\n', "x.csv") == 0


def test_no_line() -> None:
    assert refused(READER, b"").code == "empty"
