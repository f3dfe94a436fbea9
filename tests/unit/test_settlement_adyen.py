"""Adyen's Settlement Details → lines and a control; or the refusal of the whole file, with its place."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.adyen_settlement_details import KINDS
from reconciliation.formats.shape import KINDS as LETTERS
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal
from schemas.money import Money
from schemas.settlements import LineColumns
from tests.settlement_files import ADYEN, ADYEN_TAIL, adyen, adyen_row, call, csv_line, paid_out, settled

SOURCE = ReadFrom("adyen-main", "adyen", accounts=frozenset({"TallyShop"}))
Rows = list[dict[str, str]]


def read(data: bytes, source: ReadFrom = SOURCE) -> tuple[list[Chunk], Control]:
    *chunks, control = gate.read([data], source)
    assert isinstance(control, Control)
    return [chunk for chunk in chunks if isinstance(chunk, Chunk)], control


def lines(data: bytes, source: ReadFrom = SOURCE) -> Chunk:
    [chunk], _ = read(data, source)
    return chunk


def refused(data: bytes, source: ReadFrom = SOURCE, name: str = "") -> Refusal:
    with pytest.raises(Refusal) as error:
        list(gate.read([data], source, name))
    return error.value


def batch() -> Rows:
    """Two captures, a refund, a chargeback and a fee; 198.80 + 98.80 - 50.25 - 115.00 - 3.00 is paid out."""
    return [
        settled(1),
        settled(2, gross_credit="200.00", net_credit="198.80"),
        adyen_row(
            "Refunded",
            psp_reference="P1",
            merchant_reference=call(1),
            modification_reference="R1",
            modification_merchant_reference=call(91),
            gross_debit="50.00",
            net_debit="50.25",
            commission="0.25",
        ),
        adyen_row(
            "Chargeback",
            psp_reference="P2",
            merchant_reference=call(2),
            modification_reference="D1",
            gross_debit="100.00",
            net_debit="115.00",
            commission="15.00",
        ),
        adyen_row(
            "Fee", modification_reference="Transaction Fees", gross_currency="", exchange_rate="", net_debit="3.00"
        ),
        paid_out("129.35"),
    ]


def test_a_batch_is_read_line_by_line() -> None:
    chunk, control = lines(adyen(batch())), read(adyen(batch()))[1]
    found = chunk.lines
    assert found.kinds == "ccrbfp"
    assert found.gross == [10_000, 20_000, -5_000, -10_000, 0, -12_935]
    assert found.net == [9_880, 19_880, -5_025, -11_500, -300, -12_935]
    assert found.fees == [120, 120, 25, 1_500, 300, 0]
    assert (found.commissions[3], found.markups[0], found.scheme_fees[0], found.interchange[0]) == (1_500, 20, 35, 65)
    assert [gross - fee for gross, fee in zip(found.gross, found.fees, strict=True)] == found.net
    split = [found.keys[begin : begin + 32] for begin in range(0, 192, 32)]
    assert split == [call(1), call(2), call(91), keys.theirs("adyen", "D1"), "0" * 32, "0" * 32]
    assert found.psp_refs[:4] == ["P000000000000001", "P000000000000002", "R1", "D1"]
    assert found.at[0] == int(datetime(2026, 2, 10, 9, 25, 36, tzinfo=UTC).timestamp())
    assert len(set(found.digests)) == 6
    assert (chunk.settlements, chunk.currencies, set(found.settlements)) == (("7",), ("EUR",), {0})
    assert (control.identity, control.sequence, control.version) == ("batch 7 of TallyShop", 7, "")
    assert (control.account_ids, control.first_day, control.lines) == (("TallyShop",), "2026-02-10", 6)
    assert [(claim.settlement, claim.amount) for claim in control.claims] == [("7", Money(12_935, "EUR"))]
    assert [(each.net, each.paid, each.ties) for each in control.sums] == [(12_935, 12_935, True)]


def test_the_place_of_a_line_leads_to_its_bytes() -> None:
    data = adyen(batch())
    chunk = lines(data)
    shown = data[chunk.first_byte : chunk.last_byte + 1].decode().splitlines()
    assert chunk.first_line == 2
    assert shown == data.decode().splitlines()[1:]


def test_a_batch_that_is_carried_to_the_next_pays_nothing_out() -> None:
    carried = adyen_row(
        "Balancetransfer", gross_currency="", exchange_rate="", net_debit="98.80",
        modification_merchant_reference="Balancetransfer to batch 8",
    )  # fmt: skip
    chunk, control = lines(adyen([settled(), carried])), read(adyen([settled(), carried]))[1]
    assert (chunk.lines.kinds, control.claims[0].amount) == ("ct", Money(0, "EUR"))


LAYOUTS: dict[str, Callable[[Rows], bytes]] = {
    "no reserved columns": lambda rows: adyen(rows, ADYEN[:23]),
    "with the newer tail": lambda rows: adyen(rows, [*ADYEN, *ADYEN_TAIL]),
    "in another order": lambda rows: adyen(rows, [*ADYEN_TAIL, *reversed(ADYEN)]),
    "other writing of names": lambda rows: adyen(rows).replace(b"Gross Debit (GC)", b"GROSS  DEBIT (gc)"),
    "byte order mark": lambda rows: codecs.BOM_UTF8 + adyen(rows),
    "UTF-16": lambda rows: codecs.BOM_UTF16_LE + adyen(rows).decode().encode("utf-16-le"),
    "mixed line ends": lambda rows: adyen(rows).replace(b"\n", b"\r\n", 3),
    "no last line end": lambda rows: adyen(rows)[:-1],
    "unpadded amounts": lambda rows: adyen(rows).replace(b"50.00", b"50").replace(b"0.20", b"0.2"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_batch_gives_the_same_lines(layout: str) -> None:
    """Digests too: a file in another layout is no other file."""
    assert without_bytes(lines(LAYOUTS[layout](batch()))) == without_bytes(lines(adyen(batch())))


def without_bytes(chunk: Chunk) -> LineColumns:
    """The lines of a chunk, wherever their bytes stand in the file."""
    return replace(chunk.lines, offsets=[], sizes=[])


def test_of_several_batches_one_that_does_not_tie_refuses_not_the_others() -> None:
    other = [settled(9, batch_number="8"), paid_out("98.70", batch_number="8")]
    _, control = read(adyen([*batch(), *other]))
    assert [(each.settlement, each.ties) for each in control.sums] == [("7", True), ("8", False)]
    assert (control.identity, control.sequence) == ("batches 7 to 8 of TallyShop", None)
    assert refused(adyen([*batch()[1:], *other])).code == "bad_total"


def test_an_unknown_column_is_noted_and_one_of_money_refuses() -> None:
    def with_column(name: str) -> bytes:
        return adyen(batch(), [*ADYEN, name])

    assert read(with_column("Store"))[1].notes == ("store",)
    refusal = refused(with_column("Levy (NC)"))
    assert (refusal.code, refusal.column) == ("schema_drift", "levy nc")


def test_equal_rows_are_as_many_lines() -> None:
    fee = adyen_row("Fee", gross_currency="", exchange_rate="", net_debit="1.00")
    twins = lines(adyen([settled(), fee, fee, paid_out("96.80")])).lines
    assert len(set(twins.digests)) == 4
    assert sorted(lines(adyen([fee, settled(), fee, paid_out("96.80")])).lines.digests) == sorted(twins.digests)


@pytest.mark.parametrize(
    ("row", "gross", "net", "fee", "rate"),
    [
        # Fees larger than gross: a settled row that takes money.
        ({"gross_currency": "INR", "gross_credit": "10", "exchange_rate": "0.011", "net_credit": "", "net_debit": "0.03",
              "markup": "0", "scheme_fees": "0.04", "interchange": "0.1"}, 1_000, -3, 14, "0.011"),
        ({"gross_currency": "JPY", "gross_credit": "1000", "exchange_rate": "0.0061", "net_credit": "6.0", "markup": "0.1",
              "scheme_fees": "", "interchange": ""}, 1_000, 600, 10, "0.0061"),
        ({"gross_currency": "CLP", "gross_credit": "1000.00", "exchange_rate": "0.001", "net_credit": "0.9", "markup": "0.1",
              "scheme_fees": "", "interchange": ""}, 1_000, 90, 10, "0.001"),
        ({"gross_currency": "CVE", "gross_credit": "1000", "exchange_rate": "0.01", "net_credit": "9.9", "markup": "0.1",
              "scheme_fees": "", "interchange": ""}, 100_000, 990, 10, "0.01"),
    ],
)  # fmt: skip
def test_other_currencies_are_taken_at_the_rows_rate(
    row: dict[str, str], gross: int, net: int, fee: int, rate: str
) -> None:
    amount = f"{abs(net) / 100:.2f}"
    out = paid_out(amount) if net > 0 else paid_out("", net_credit=amount)
    found = lines(adyen([settled(1, **row), out])).lines
    assert (found.gross[0], found.net[0], found.fees[0], found.rates[0]) == (gross, net, fee, rate)


def test_the_total_of_the_fees_is_not_added_to_its_parts() -> None:
    layout = [*ADYEN, *ADYEN_TAIL]
    both = lines(adyen([settled(payment_fees="1.20"), paid_out("98.80")], layout)).lines
    alone = settled(payment_fees="1.20", markup="", scheme_fees="", interchange="")
    total = lines(adyen([alone, paid_out("98.80")], layout)).lines
    assert (both.fees[0], total.fees[0], total.commissions[0]) == (120, 120, 120)


def test_a_fee_that_is_given_back_has_a_minus() -> None:
    won = adyen_row(
        "ChargebackReversed", modification_reference="D1", gross_credit="40", net_credit="45", commission="-5"
    )
    found = lines(adyen([won, paid_out("45.00")])).lines
    assert (found.gross[0], found.net[0], found.fees[0], found.commissions[0]) == (4_000, 4_500, -500, -500)


def test_disputes_and_captures_carry_the_names_that_the_psp_told_us() -> None:
    layout = [*ADYEN, *ADYEN_TAIL]
    rows = [
        settled(merchant_reference="order 1", modification_merchant_reference=call(5)),
        settled(merchant_reference="order 1", modification_merchant_reference="", psp_reference="P9"),
        adyen_row(
            "SecondChargeback", modification_reference="M1", dispute_reference="D9", gross_debit="1", net_debit="1"
        ),
        adyen_row("RefundedReversed", modification_reference="R9", gross_credit="1", net_credit="1"),
        paid_out("197.60"),
    ]
    found = lines(adyen(rows, layout)).lines
    theirs = [keys.theirs("adyen", name) for name in ("P9", "D9", "R9")]
    assert found.keys == "".join([call(5), *theirs, "0" * 32])
    assert found.order_refs[0] == "order 1"


def test_a_card_number_in_the_merchants_reference_is_hidden() -> None:
    rows = [
        settled(merchant_reference="4111 1111 1111 1111", modification_merchant_reference=call(1)),
        paid_out("98.80"),
    ]
    assert lines(adyen(rows)).lines.order_refs[0] == "[card]"


def test_all_types_have_a_kind_of_ours() -> None:
    assert set(KINDS.values()) <= set(LETTERS)
    reserve = adyen_row("DepositCorrection", gross_currency="", exchange_rate="", net_credit="98.80")
    held = reserve | {"Net Credit (NC)": "", "Net Debit (NC)": "98.80"}
    found = lines(adyen([held, reserve]))
    assert (found.lines.kinds, found.lines.gross) == ("hH", [-9_880, 9_880])


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def one(**cells: str) -> bytes:
    return adyen([settled(), settled(2, **cells), paid_out("197.60")])


@pytest.mark.parametrize(
    ("data", "code", "line", "column"),
    [
        (b"", "empty", None, None),
        (b"\xef\xbb\xbf \r\n", "empty", None, None),
        (csv_line(ADYEN).encode(), "empty", None, None),
        (b"PK\x03\x04" + b"\0" * 100, "binary", None, None),
        (adyen(batch()) + b"\0", "binary", None, None),
        (adyen(batch()).replace(b"Fees", b"F\xe9es"), "bad_encoding", None, None),
        (b"Date,Amount\n2026-02-10,1.00\n", "wrong_format", 1, None),
        (adyen(batch(), ADYEN[:8] + ADYEN[9:]), "schema_drift", 1, "modification reference"),
        (adyen(batch(), [*ADYEN, "Type"]), "schema_drift", 1, "Type"),
        (one(merchant_account="Other"), "wrong_account", 3, "Merchant Account"),
        (one(type="Levied"), "schema_drift", 3, "Type"),
        (adyen(batch()) + adyen(batch()), "bad_row", 8, None),  # two exports pasted
        (adyen(batch()) + codecs.BOM_UTF8 + adyen(batch()), "bad_row", 8, None),
        (adyen(batch()).replace(b"Fee,", b"\xef\xbb\xbfFee,"), "schema_drift", 6, "Type"),
        (one(net_credit="98,80"), "bad_row", 3, "Net Credit (NC)"),
        (one(gross_credit="1_00.00"), "bad_row", 3, "Gross Credit (GC)"),
        (one(commission="-0.00"), "bad_row", 3, "Commission (NC)"),
        (one(gross_credit="1,000.00"), "bad_row", 3, "Gross Credit (GC)"),
        (one(exchange_rate="0", net_currency="USD"), "bad_row", 3, "Exchange Rate"),
        (one(exchange_rate="", net_currency="USD"), "bad_row", 3, "Exchange Rate"),
        (one(creation_date="2026-02-30 10:00:00"), "bad_row", 3, "Creation Date"),
        (one(timezone="XYZ"), "bad_row", 3, "Creation Date"),
        (one(batch_number="seven"), "bad_row", 3, "Batch Number"),
        (adyen(batch())[:-5], "bad_row", 7, None),
        (one(net_credit="98.79"), "row_does_not_tie", 3, None),
        (one(exchange_rate="1.1"), "row_does_not_tie", 3, None),
        (one(net_currency="XXX"), "currency_unknown", 3, "Net Currency"),
        (one(net_credit="98.801"), "wrong_decimals", 3, "Net Credit (NC)"),
        (one(gross_currency="JPY", gross_credit="100.5"), "wrong_decimals", 3, "Gross Credit (GC)"),
        (adyen(batch()[1:]), "bad_total", None, None),
        (adyen(batch()[:-1]), "bad_total", None, None),  # cut off at a line's end
        (adyen(batch()) + b'"', "truncated", 8, None),
        (adyen(batch())[:-40], "truncated", 7, None),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused_with_its_place(
    data: bytes, code: str, line: int | None, column: str | None
) -> None:
    refusal = refused(data)
    assert (refusal.code, refusal.line, refusal.column) == (code, line, column)
