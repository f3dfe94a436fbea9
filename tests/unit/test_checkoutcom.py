"""Checkout.com's breakdown, financial actions and payouts → lines, exact to eight decimals, or the reason they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.formats.checkoutcom_financial_actions import CheckoutcomFinancialActions
from reconciliation.formats.checkoutcom_payouts import CheckoutcomPayouts
from reconciliation.formats.checkoutcom_settlement_breakdown import CheckoutcomSettlementBreakdown
from reconciliation.formats.keys import theirs
from reconciliation.formats.shape import NO_KEY, ReadFrom, RefusalCode
from schemas.money import Money
from tests.checkoutcom_files import (
    ACTED,
    CHARGED,
    COST,
    DISPUTED,
    EXCHANGED,
    HELD,
    REFUNDED,
    ROWS,
    WON,
    Row,
    action,
    actions,
    breakdown,
    movement,
    payout,
    payouts,
)
from tests.settlement_files import call
from tests.unit.settlement_reading import Told, refused, told

BREAKDOWN, ACTIONS, PAYOUTS = CheckoutcomSettlementBreakdown(), CheckoutcomFinancialActions(), CheckoutcomPayouts()
SOURCE = ReadFrom("main", "psp", timezone="Europe/Berlin", accounts=frozenset({"ent_1"}))


def read(*rows: Row) -> Told:
    return told(BREAKDOWN, breakdown(*rows), SOURCE)


def acted(*rows: Row, source: ReadFrom = SOURCE) -> Told:
    return told(ACTIONS, actions(*rows), source)


def test_a_charge_has_our_call_its_amounts_its_fees_and_the_settlement_zone() -> None:
    [line] = read(CHARGED).lines
    assert (line.kind, line.key, line.psp_ref, line.order_ref, line.settlement) == ("c", call(1), "act_1", "", "PAY1")
    assert (line.gross, line.net, line.fee) == (100_00, 98_59, 1_41)
    assert (line.commission, line.scheme_fee, line.interchange, line.tax) == (90, 11, 40, 0)
    assert (line.at, line.value_day) == (1_795_857_072, 20_786)  # 09:11:12 UTC; the day on which it is available


def test_what_is_finer_than_a_cent_is_rounded_once_in_all_rows() -> None:
    nets = [line.net for line in read(*[CHARGED] * 4).lines]
    assert nets == [98_59, 98_60, 98_59, 98_59]  # 98.5925 each, 394.37 in all
    assert sum(nets) == 394_37
    assert all(line.fee == line.gross - line.net for line in read(*[CHARGED] * 4).lines)


exact = st.decimals(min_value=-900, max_value=900, places=8)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-90_000, 90_000), exact), min_size=1, max_size=20))
def test_rows_add_up_to_their_exact_sum_and_each_is_less_than_a_unit_off(rows: Sequence[tuple[int, Decimal]]) -> None:
    made = []
    for number, (cents, deduction) in enumerate(rows):
        gross = Decimal(cents).scaleb(-2)
        texts = (text(gross), text(deduction), text(gross + deduction))
        made.append(movement("Charge", *texts, payment_id=f"pay_{number}"))
    lines = read(*made).lines
    nets = [Decimal(cents).scaleb(-2) + deduction for cents, deduction in rows]
    assert sum(line.net for line in lines) == floor(sum(nets) * 100 + Decimal("0.5"))
    for line, net in zip(lines, nets, strict=True):
        assert abs(Decimal(line.net) - net * 100) <= 1
        assert line.commission + line.scheme_fee + line.interchange + line.tax == line.fee


def text(amount: Decimal) -> str:
    shown = f"{amount:f}".rstrip("0").rstrip(".") if amount else "0"
    return shown if Decimal(shown) else "0"


def test_the_sign_tells_a_dispute_that_is_won_and_never_the_type() -> None:
    assert [(line.kind, line.gross, line.key) for line in read(DISPUTED, WON).lines] == [
        ("b", -40_00, theirs("psp", "dsp_3")),
        ("B", 40_00, theirs("psp", "dsp_3")),
    ]
    assert read(DISPUTED).lines[0].fee == 15_00
    assert read(movement("Clearing Failed", "-100", "0", "-100")).lines[0].kind == "c"
    assert read(movement("Clearing Failed", "25", "0", "25")).lines[0].kind == "R"


def test_another_currency_has_its_own_gross_and_the_rate() -> None:
    [line] = read(EXCHANGED).lines
    assert (line.gross, line.gross_currency, line.rate) == (250_00, "SEK", "0.08694")
    assert (line.net, line.net_currency, line.fee) == (21_28, "EUR", 46)
    wrong = EXCHANGED | {"Gross In Holding Currency": "22.735", "Net In Holding Currency": "22.275"}
    assert refused(BREAKDOWN, breakdown(wrong), SOURCE).code == "row_does_not_tie"


def test_a_row_of_costs_alone_is_a_fee_and_one_of_a_reserve_is_held() -> None:
    cost, held, released = read(COST, HELD, movement(
        "Rolling Reserve", "0", "5", "5", processing_fee="0", reserve="5"
    )).lines  # fmt: skip
    assert (cost.kind, cost.gross, cost.fee, cost.net, cost.key) == ("f", 0, 2_00, -2_00, NO_KEY)
    assert (held.kind, held.net, held.fee) == ("h", -5_00, 0)
    assert (released.kind, released.net) == ("H", 5_00)


def test_yen_are_whole() -> None:
    yen = {"holding_currency": "JPY", "processing_currency": "JPY"}
    assert read(movement("Charge", "1500", "-20.4", "1479.6", **yen)).lines[0][5:10] == (1_500, "JPY", 1_480, "JPY", 20)
    assert (
        refused(BREAKDOWN, breakdown(movement("Charge", "10.5", "0", "10.5", **yen)), SOURCE).code == "wrong_decimals"
    )


def test_the_payouts_report_claims_what_the_rows_come_to() -> None:
    found = told(PAYOUTS, payouts(payout("394.37"), payout("-4", "PAY2"), payout("0", "PAY3")), SOURCE)
    assert [(claim.settlement, claim.amount, claim.day) for claim in found.control.claims] == [
        ("PAY1", Money(394_37, "EUR"), "2026-11-29"),
        ("PAY2", Money(-4_00, "EUR"), "2026-11-29"),
        ("PAY3", Money(0, "EUR"), "2026-11-29"),
    ]
    assert {(line.kind, line.net) for line in found.lines} == {("p", -394_37), ("p", 4_00), ("p", 0)}
    rows = read(*[CHARGED] * 4).control
    assert [(each.settlement, each.net, each.ties) for each in rows.sums] == [("PAY1", 394_37, False)]
    assert rows.claims == ()


def test_two_reports_of_payouts_name_a_payout_alike() -> None:
    one, other = (told(PAYOUTS, payouts(*rows), SOURCE) for rows in ([payout("1")], [payout("2", "PAY2"), payout("1")]))
    assert set(one.digests()) < set(other.digests())


def test_fees_of_an_action_are_part_of_its_payment() -> None:
    lines = acted(*ACTED).lines
    assert "".join(line.kind for line in lines) == "ccccrrrbf"
    capture = [line for line in lines if line.key == call(1)]
    assert (sum(line.gross for line in capture), sum(line.fee for line in capture)) == (100_00, 1_41)
    tax = lines[6]
    assert (tax.gross, tax.fee, tax.tax, tax.commission) == (0, 1, 1, 0)
    assert sum(line.net for line in lines) == 33_45


def test_financial_actions_count_where_the_source_names_them_and_are_evidence_elsewhere() -> None:
    named = ReadFrom("main", "psp", format=ACTIONS.name, kind="psp")
    other = ReadFrom("main", "psp", format=BREAKDOWN.name, kind="psp")
    counted, evidence = acted(*ACTED, source=named), acted(*ACTED, source=other)
    assert {line.kind for line in evidence.lines} == {"e"}
    assert (evidence.control.sums, evidence.control.claims) == ((), ())
    assert {line.key for line in counted.lines} == {line.key for line in evidence.lines}
    assert not set(counted.digests()) & set(evidence.digests())


def test_an_action_that_is_not_paid_out_yet_is_evidence() -> None:
    waiting, paid = acted(action("Capture", "Capture", "100", payout_id=""), action("Capture", "Capture", "5")).lines
    assert (waiting.kind, waiting.settlement, waiting.gross, waiting.key) == ("e", "", 0, call(1))
    assert (paid.kind, paid.settlement) == ("c", "PAY1")


def test_files_of_several_payouts_or_of_none_are_told_apart_by_their_days() -> None:
    assert acted(*ACTED).control.identity == "financial actions of payout PAY1 of ent_1"
    mixed = acted(*ACTED, action("Capture", "Capture", "5", payout_id=""))
    assert mixed.control.identity == "financial actions of 2026-11-28 to 2026-11-28 of ent_1"


def changed(row: Row, **cells: str) -> Row:
    names = {name.lower().replace(" in holding currency", "").replace(" ", "_"): name for name in row}
    return row | {names[name]: value for name, value in cells.items()}


@pytest.mark.parametrize(
    ("row", "code", "column"),
    [
        (changed(CHARGED, client_entity_id="ent_2"), "wrong_account", "Client Entity ID"),
        (changed(CHARGED, client_entity_id=""), "wrong_account", "Client Entity ID"),
        (changed(CHARGED, type="Charged"), "schema_drift", "Type"),
        (changed(CHARGED, type="Void"), "schema_drift", "Type"),
        (changed(CHARGED, gross="1e2"), "bad_row", "Gross In Holding Currency"),
        (changed(CHARGED, net="98.592500001"), "wrong_decimals", "Net In Holding Currency"),
        (changed(CHARGED, net="98.5926"), "row_does_not_tie", None),
        (changed(CHARGED, scheme_fee="-0.1"), "row_does_not_tie", None),
        (changed(CHARGED, reserve="-1", deduction="-2.4075", net="97.5925"), "schema_drift", None),
        (changed(CHARGED, gross_in_processing_currency="99"), "row_does_not_tie", None),
        (changed(CHARGED, holding_currency="EUX"), "currency_unknown", "Holding Currency"),
        (changed(EXCHANGED, processing_currency="XXX"), "currency_unknown", "Processing Currency"),
        (changed(EXCHANGED, fx_rate_applied="0"), "bad_row", "FX Rate Applied"),
        (changed(CHARGED, processed_on="2026-02-30T10:00:00"), "bad_row", "Processed On"),
        (changed(CHARGED, processed_on="2026-03-29T02:30:00"), "bad_row", "Processed On"),
        (changed(CHARGED, payout_id="PAY 1"), "bad_row", "Payout ID"),
    ],
)
def test_a_row_of_the_breakdown_is_refused_with_its_place(row: Row, code: RefusalCode, column: str | None) -> None:
    refusal = refused(BREAKDOWN, breakdown(REFUNDED, row), SOURCE)
    assert (refusal.code, refusal.line, refusal.column) == (code, 3, column)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (breakdown(), "empty"),
        (breakdown(*ROWS).replace(b"Tax In", b"Taxes In"), "schema_drift"),
        (breakdown(*ROWS).replace(b"Payment Method", b"Levy Fee"), "schema_drift"),
        (breakdown(*ROWS)[:-60], "bad_row"),
        (breakdown(*ROWS) * 2, "bad_row"),
    ],
)
def test_a_breakdown_that_is_not_whole_is_refused(data: bytes, code: RefusalCode) -> None:
    assert refused(BREAKDOWN, data, SOURCE).code == code


@pytest.mark.parametrize(
    ("row", "code", "column"),
    [
        (payout("10", "PAY1"), "bad_row", None),  # it stands there already
        (payout("", "PAY2"), "bad_row", None),
        (payout("10", ""), "bad_row", None),
        (payout("10.005", "PAY2"), "wrong_decimals", None),
        (payout("ten", "PAY2"), "bad_row", "Payout Amount"),
        (payout("10", "PAY2", client_entity_id="ent_9"), "wrong_account", "Client Entity ID"),
        (payout("10", "PAY2", payout_date="yesterday"), "bad_row", "Payout Date"),
    ],
)
def test_a_payout_is_refused_with_its_place(row: Row, code: RefusalCode, column: str | None) -> None:
    refusal = refused(PAYOUTS, payouts(payout("1"), row), SOURCE)
    assert (refusal.code, refusal.line, refusal.column) == (code, 3, column)


@pytest.mark.parametrize(
    ("row", "code", "column"),
    [
        (action("Captured", "Gateway Fixed Fee", "-1"), "schema_drift", "Action Type"),
        (action("Capture", "Capturing", "1"), "schema_drift", "Breakdown Type"),
        (action("Capture", "Capture", "1.005"), "wrong_decimals", None),
        (action("Capture", "Capture", "1,5"), "bad_row", "Holding Currency Amount"),
        (action("Capture", "Capture", "1", processing_currency="SEK"), "row_does_not_tie", None),
        (action("Capture", "Capture", "1", client_entity_id="ent_2"), "wrong_account", "Client Entity ID"),
    ],
)
def test_a_financial_action_is_refused_with_its_place(row: Row, code: RefusalCode, column: str | None) -> None:
    cells = {"Processing Currency Amount": "100"} if row["Processing Currency"] == "SEK" else {}
    refusal = refused(ACTIONS, actions(action("Capture", "Capture", "5"), row | cells), SOURCE)
    assert (refusal.code, refusal.line, refusal.column) == (code, 3, column)
