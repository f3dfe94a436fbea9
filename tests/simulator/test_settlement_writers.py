"""Settlements and statements → each format's file: its sums, by arithmetic of this file alone, and its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from simulator.settlements import adyen, camt, native, paypal, stripe
from simulator.settlements.bank import Entry, Statement
from simulator.settlements.model import CannotWrite, Row, Settlement, decimal_text
from tests.simulator.settlement_cases import (
    CAPTURE,
    CHARGEBACK,
    CLOSED_US,
    MONTHLY,
    NOON_US,
    ROWS,
    a_settlement,
)

PAID = Decimal("98.60") - Decimal("25.10") - 55 + 45 - Decimal("2.50") + Decimal("21.28")


def table(pieces: Iterable[bytes]) -> list[dict[str, str]]:
    """By column name, of a file with one line of names."""
    text = b"".join(pieces).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def money(text: str) -> Decimal:
    return Decimal(text or 0)


def test_our_own_csv_ties_row_by_row_and_as_a_whole() -> None:
    lines = list(csv.reader(io.StringIO(b"".join(native.write(a_settlement())).decode(), newline=""), strict=True))
    header, names, *rows, trailer = lines
    assert header == ["tallystick-settlement", "1", "southpay-account", "1001", "EUR", "2026-11-29", "2026-11-29"]
    assert trailer == ["trailer", str(len(ROWS) + 1), "0.00"]
    for row in (dict(zip(names, each, strict=True)) for each in rows):
        gross = money(row["gross"]) * Decimal(row["fx_rate"] or 1)
        assert gross.quantize(Decimal("0.01")) - money(row["fee"]) == money(row["net"])
        parts = ("commission", "markup", "scheme", "interchange", "tax")
        assert sum(money(row[part]) for part in parts) == money(row["fee"])
    payout = dict(zip(names, rows[-1], strict=True))
    assert (payout["kind"], money(payout["net"]), payout["payout_ref"]) == ("payout", -PAID, a_settlement().trace)
    assert [row[names.index("our_ref")] for row in rows if row[0] == "chargeback"] == [""]


@pytest.mark.parametrize("more", [False, True])
def test_adyens_rows_tie_and_the_batch_comes_to_zero(more: bool) -> None:
    rows = table(adyen.write([a_settlement()], more=more))
    for row in rows:
        gross = money(row["Gross Credit (GC)"]) - money(row["Gross Debit (GC)"])
        fees = sum(money(row[f"{part} (NC)"]) for part in ("Commission", "Markup", "Scheme Fees", "Interchange"))
        net = money(row["Net Credit (NC)"]) - money(row["Net Debit (NC)"])
        if row["Exchange Rate"]:
            assert (gross * Decimal(row["Exchange Rate"])).quantize(Decimal("0.01")) - fees == net
        assert "-" not in row["Net Debit (NC)"] + row["Net Credit (NC)"] + row["Gross Debit (GC)"]
    debits, credits = (sum(money(row[f"Net {side} (NC)"]) for row in rows) for side in ("Debit", "Credit"))
    assert debits == credits
    assert [money(row["Net Debit (NC)"]) for row in rows if row["Type"] == "MerchantPayout"] == [PAID]
    assert {row["Batch Number"] for row in rows} == {"1001"}
    assert ("Merchant Order Reference" in rows[0]) == more


def test_adyens_rows_name_the_payment_and_what_was_done_to_it() -> None:
    _, refund, chargeback, *_ = table(adyen.write([a_settlement()]))
    assert refund["Psp Reference"] == "PSP0001"
    assert refund["Merchant Reference"] == CAPTURE.our_ref
    assert (refund["Modification Reference"], refund["Type"]) == ("R_PSP0002", "Refunded")
    assert refund["Modification Merchant Reference"] == ROWS[1].our_ref
    assert chargeback["Dispute Reference"] == chargeback["Modification Reference"] == "D_PSP0003"
    assert (refund["Creation Date"], refund["TimeZone"]) == ("2026-11-29 13:00:00", "CET")


def test_adyen_counts_pesos_in_hundredths() -> None:
    row = replace(CAPTURE, currency="CLP", net_currency="CLP", gross=1_000, net=860)
    [written, _] = table(adyen.write([a_settlement((row,), currency="CLP")]))
    assert (written["Gross Credit (GC)"], written["Commission (NC)"]) == ("1000.00", "90.00")


def test_stripes_rows_tie_and_each_payout_is_what_its_rows_add_up_to() -> None:
    other = a_settlement((replace(CAPTURE, currency="USD", net_currency="USD"),), currency="USD")
    rows = table(stripe.write([a_settlement(), other]))
    for row in rows:
        assert money(row["gross"]) - money(row["fee"]) == money(row["net"])
    by_payout: dict[str, Decimal] = {}
    for row in rows:
        by_payout[row["automatic_payout_id"]] = by_payout.get(row["automatic_payout_id"], Decimal(0)) + money(
            row["net"]
        )
    assert list(by_payout.values()) == [0, 0]
    assert [money(row["net"]) for row in rows if row["reporting_category"] == "payout"] == [-PAID, Decimal("-98.60")]
    assert len({row["balance_transaction_id"] for row in rows}) == len(rows)
    [exchanged] = [row for row in rows if row["customer_facing_currency"] == "sek"]
    assert (exchanged["gross"], exchanged["currency"], exchanged["customer_facing_amount"]) == (
        "21.74",
        "eur",
        "250.00",
    )


def records(settlements: list[Settlement]) -> dict[str, list[list[str]]]:
    """By the first field of each record."""
    text = b"".join(paypal.write(settlements, CLOSED_US)).decode()
    found: dict[str, list[list[str]]] = {}
    for kind, *fields in csv.reader(io.StringIO(text, newline=""), strict=True):
        found.setdefault(kind, []).append(fields)
    return found


def test_paypals_footers_count_and_add_up_its_rows_per_currency() -> None:
    found = records([a_settlement()])
    names = found["CH"][0]
    rows = [dict(zip(names, row, strict=True)) for row in found["SB"]]
    assert len(rows) == len(ROWS) + 1 + 2  # the payout, and both legs of what was exchanged
    for footer in found["SF"]:
        currency, credits, debits, fee_credits, fee_debits, *balances, count = footer
        gross = [(row["Transaction Debit or Credit"], row["Gross Transaction Amount"]) for row in rows
                 if row["Gross Transaction Currency"] == currency]  # fmt: skip
        fees = [(row["Fee Debit or Credit"], row["Fee Amount"]) for row in rows if row["Fee Currency"] == currency]
        sums = [
            sum(int(amount) for way, amount in each if way == wanted)
            for each in (gross, fees)
            for wanted in ("CR", "DR")
        ]
        assert [int(each) for each in (credits, debits, fee_credits, fee_debits)] == sums
        assert int(count) == len(gross)
        assert balances == ["CR", "0"] * 6
    assert [footer[0] for footer in found["SF"]] == ["EUR", "SEK"]
    assert found["SF"] == found["RF"]
    assert found["SC"] == found["RC"] == found["FF"] == [[str(len(rows))]]


def test_paypal_counts_yen_in_hundredths_and_has_no_dinars() -> None:
    yen = replace(CAPTURE, currency="JPY", net_currency="JPY", gross=1_500, net=1_360)
    assert records([a_settlement((yen,), currency="JPY")])["SB"][0][8] == "150000"
    dinars = replace(CAPTURE, currency="KWD", net_currency="KWD")
    with pytest.raises(CannotWrite, match="KWD"):
        records([a_settlement((dinars,), currency="KWD")])


def test_paypal_shows_what_was_carried_as_its_balance() -> None:
    brought = Row("carried", NOON_US, "EUR", -1_000, "EUR", -1_000, payout_ref="1000")
    owing = Row("carried", NOON_US, "EUR", 6_500, "EUR", 6_500, payout_ref="1002")
    settlement = replace(a_settlement(), rows=(brought, CHARGEBACK, owing))
    found = records([settlement])
    assert len(found["SB"]) == 1
    assert found["SF"][0][5:9] == ["DR", "1000", "DR", "6500"]


@pytest.mark.parametrize(("write", "kind"), [(stripe.write, "carried"), (stripe.write, "invoice")])
def test_what_a_format_has_no_word_for_is_not_written(write: object, kind: str) -> None:
    row = replace(MONTHLY, kind=kind)
    assert callable(write)
    with pytest.raises(CannotWrite, match=kind):
        b"".join(write([replace(a_settlement(), rows=(row,))]))


ENTRIES = (
    Entry("payout:1", NOON_US, 98_72, "", "TX0000000001XT batch 1001, southpay-account", "southpay"),
    Entry("transfer:1", NOON_US, -120_00, "a" * 32, "pay-out <&> 1", "beneficiary"),
)


@pytest.mark.parametrize("version", [2, 8])
def test_a_bank_statement_closes_with_its_opening_and_its_entries(version: camt.Version) -> None:
    statement = Statement("main", "EUR", 7, "2026-11-29", CLOSED_US, 10_00, -11_28, ENTRIES)
    root = ElementTree.fromstring(b"".join(camt.write([statement], version)))
    space = {"c": f"urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version:02d}"}

    def signed(element: ElementTree.Element) -> Decimal:
        amount = Decimal(element.findtext("c:Amt", "", space))
        return amount if element.findtext("c:CdtDbtInd", "", space) == "CRDT" else -amount

    opening, closing = (signed(each) for each in root.iterfind(".//c:Bal", space))
    entries = [signed(each) for each in root.iterfind(".//c:Ntry", space)]
    assert entries == [Decimal("98.72"), Decimal("-120.00")]
    assert opening + sum(entries) == closing
    assert [each.text for each in root.iterfind(".//c:EndToEndId", space)] == ["NOTPROVIDED", "a" * 32]
    assert root.findtext(".//c:ElctrncSeqNb", "", space) == "7"
    assert [each.text for each in root.iterfind(".//c:Ustrd", space)][1] == "pay-out <&> 1"


def test_an_account_number_has_its_check_digits() -> None:
    number = camt.iban("main", "EUR")
    digits = "".join(str(int(each, 36)) for each in number[4:] + number[:4])
    assert int(digits) % 97 == 1
    assert number != camt.iban("main", "USD")


@pytest.mark.parametrize(
    ("minor", "digits", "text"),
    [(12345, 2, "123.45"), (-5, 2, "-0.05"), (7, 0, "7"), (-1500, 3, "-1.500"), (0, 2, "0.00")],
)
def test_amounts_are_written_in_major_units(minor: int, digits: int, text: str) -> None:
    assert decimal_text(minor, digits) == text


def test_a_field_with_a_comma_or_a_quote_is_read_back_as_it_was() -> None:
    [row] = [row for row in table(adyen.write([a_settlement()])) if row["Gross Currency"] == "SEK"]
    assert row["Merchant Order Reference"] == 'order,"9"'
