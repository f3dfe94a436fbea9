"""Checkout.com's reports as it writes them, made anew: rows → bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.settlement_files import call, csv_line

_BREAKDOWN = (
    "Client Entity ID,Client Entity Name,Processing Channel ID,Processing Channel Name,Type,Payment ID,Reference,"
    "Processed On,Available On,Holding Currency,Payout ID,Gross In Holding Currency,Deduction In Holding Currency,"
    "Net In Holding Currency,Processing Fee In Holding Currency,Scheme Fee In Holding Currency,"
    "Interchange In Holding Currency,Tax In Holding Currency,Reserve In Holding Currency,Processing Currency,"
    "Gross In Processing Currency,FX Rate Applied,Payment Method,Action ID"
)
_ACTIONS = (
    "Client Entity ID,Client Entity Name,Action Type,Action ID,Payment ID,Requested On,Processed On,Processing Currency,"
    "FX Rate Applied,Holding Currency,FX Trade ID,Payout ID,Reference,Payment Method,Response Code,Breakdown Type,"
    "Processing Currency Amount,Holding Currency Amount,Entity Country Tax Currency,Tax FX Rate,Tax Currency Amount"
)
_PAYOUTS = "Client Entity ID,Holding Currency,Payout ID,Payout Date,Payout Amount,Payments,Refunds,Tax"
BREAKDOWN, ACTIONS, PAYOUTS = _BREAKDOWN.split(","), _ACTIONS.split(","), _PAYOUTS.split(",")
AT, DAY = "2026-11-28T10:11:12.000", "2026-11-29T00:00:00.000"
Row = dict[str, str]


def columns_of(columns: Iterable[str], cells: Mapping[str, str]) -> Row:
    """Keywords are columns in lower case, words joined by _: `payout_id`; amounts without `in holding currency`."""
    names = {name.lower().replace(" in holding currency", "").replace(" ", "_"): name for name in columns}
    return {names[name]: value for name, value in cells.items()}


def movement(type_: str, gross: str, deduction: str, net: str, **cells: str) -> Row:
    """A row of the breakdown of pay-out PAY1, in euros; a deduction without parts is a processing fee."""
    usual = {
        "client_entity_id": "ent_1", "type": type_, "payment_id": "pay_1", "reference": call(1), "processed_on": AT,
        "available_on": DAY, "holding_currency": "EUR", "payout_id": "PAY1", "gross": gross, "deduction": deduction,
        "net": net, "processing_currency": "EUR", "gross_in_processing_currency": gross, "fx_rate_applied": "1",
        "action_id": "act_1", "processing_fee": deduction, "reserve": "0",
    }  # fmt: skip
    return columns_of(BREAKDOWN, usual | cells)


def action(type_: str, breakdown: str, amount: str, **cells: str) -> Row:
    """A row of the financial actions of pay-out PAY1, in euros."""
    usual = {
        "client_entity_id": "ent_1", "action_type": type_, "action_id": "act_1", "payment_id": "pay_1",
        "requested_on": AT, "processed_on": AT, "reference": call(1), "payout_id": "PAY1", "breakdown_type": breakdown,
        "processing_currency": "EUR", "processing_currency_amount": amount, "fx_rate_applied": "1",
        "holding_currency": "EUR", "holding_currency_amount": amount,
    }  # fmt: skip
    return columns_of(ACTIONS, usual | cells)


def payout(amount: str, id_: str = "PAY1", **cells: str) -> Row:
    usual = {"client_entity_id": "ent_1", "holding_currency": "EUR", "payout_id": id_, "payout_date": DAY}
    return columns_of(PAYOUTS, usual | {"payout_amount": amount} | cells)


def written(columns: Iterable[str], rows: Iterable[Row]) -> bytes:
    names = list(columns)
    return "".join([csv_line(names), *(csv_line(row.get(name, "") for name in names) for row in rows)]).encode()


def breakdown(*rows: Row) -> bytes:
    return written(BREAKDOWN, rows)


def actions(*rows: Row) -> bytes:
    return written(ACTIONS, rows)


def payouts(*rows: Row) -> bytes:
    return written(PAYOUTS, rows)


CHARGED = movement(
    "Charge", "100", "-1.4075", "98.5925", processing_fee="-0.9", scheme_fee="-0.1075", interchange="-0.4"
)
REFUNDED = movement(
    "Refund", "-25", "-0.0925", "-25.0925", reference=call(2), action_id="act_2", processing_fee="-0.0925"
)
DISPUTED = movement("Chargeback", "-40", "-15", "-55", action_id="dsp_3")
WON = movement("Chargeback", "40", "0", "40", action_id="dsp_3")
EXCHANGED = movement(
    "Charge",
    "21.735",
    "-0.46",
    "21.275",
    reference=call(4),
    payment_id="pay_4",
    processing_currency="SEK",
    gross_in_processing_currency="250",
    fx_rate_applied="0.08694",
)
HELD = movement("Rolling Reserve", "0", "-5", "-5", processing_fee="0", reserve="-5")
COST = movement("Merchant Payout", "0", "-2", "-2", processing_fee="0", payment_id="", reference="", action_id="")
ROWS = (CHARGED, REFUNDED, DISPUTED, WON, EXCHANGED, HELD, COST)
ACTED = (
    action("Capture", "Capture", "100"),
    action("Capture", "Gateway Fixed Fee", "-0.9"),
    action("Capture", "Scheme Variable Fee", "-0.1075"),
    action("Capture", "Interchange Fixed Fee", "-0.4"),
    action("Refund", "Refund", "-25", reference=call(2), action_id="act_2"),
    action("Refund", "Refund Fixed Fee", "-0.08", reference=call(2), action_id="act_2"),
    action("Refund", "Refund Fixed Fee Tax", "-0.0125", reference=call(2), action_id="act_2"),
    action("Chargeback", "Chargeback (ADJM)", "-40", action_id="dsp_3"),
    action("Void", "Void Fixed Fee", "-0.05", reference=call(9), action_id="act_9"),
)
