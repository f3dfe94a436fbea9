"""Settlements → Checkout.com's reports: the breakdown or the financial actions of a pay-out, and the pay-outs of a day.

Columns: checkout.com/docs, funds management, settlement reports. Signed amounts of major units, without zeros at their end;
fees have a minus, and are split finer than minor units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from simulator.currencies import ISO
from simulator.settlements.csv_lines import line
from simulator.settlements.model import CannotWrite, Kind, Row, Settlement

BREAKDOWN = (
    *("Client Entity ID", "Client Entity Name", "Processing Channel ID", "Processing Channel Name", "Type"),
    *("Payment ID", "Reference", "Processed On", "Available On", "Holding Currency", "Payout ID"),
    *("Gross In Holding Currency", "Deduction In Holding Currency", "Net In Holding Currency"),
    *("Processing Fee In Holding Currency", "Scheme Fee In Holding Currency", "Interchange In Holding Currency"),
    *("Tax In Holding Currency", "Reserve In Holding Currency", "Processing Currency"),
    *("Gross In Processing Currency", "FX Rate Applied", "Payment Method", "Action ID", "Timezone"),
)
ACTIONS = (
    *("Client Entity ID", "Client Entity Name", "Action Type", "Action ID", "Payment ID", "Requested On"),
    *("Processed On", "Processing Currency", "FX Rate Applied", "Holding Currency", "FX Trade ID", "Payout ID"),
    *("Reference", "Payment Method", "Response Code", "Breakdown Type", "Processing Currency Amount"),
    *("Holding Currency Amount", "Entity Country Tax Currency", "Tax FX Rate", "Tax Currency Amount", "Timezone"),
)
PAYOUTS = (
    *("Client Entity ID", "Client Entity Name", "Currency Account ID", "Holding Currency", "Payout ID", "Payout Date"),
    *(
        "Reporting Start Date",
        "Reporting End Date",
        "Payout Amount",
        "Payments",
        "Refunds",
        "Chargebacks",
        "Adjustments",
    ),
)
_TYPES: Mapping[Kind, str] = {
    "capture": "Charge",
    "refund": "Refund",
    "refund_reversed": "Refund Reversal",
    "chargeback": "Chargeback",
    "second_chargeback": "Chargeback",
    "chargeback_reversed": "Chargeback",
    "fee": "Minimum Billing",
    "reserve_held": "Rolling Reserve",
    "reserve_released": "Rolling Reserve",
    "adjustment": "Adjustment",
    "invoice": "Invoice Settlement",
}
_BREAKDOWNS: Mapping[str, str] = {
    "Charge": "Capture",
    "Chargeback": "Chargeback (ADJM)",
    "Refund Reversal": "Refund Reversal",
}
_FINER = Decimal("0.00012345")  # goes from one part of a fee to another: their sum stays


def write(settlement: Settlement) -> Iterator[bytes]:
    """The breakdown of one pay-out, a line at a time; its pay-out stands in the payouts report alone."""
    yield line(*BREAKDOWN)
    for row in settlement.rows:
        if row.kind != "payout":
            yield line(*_breakdown(row, settlement))


def write_actions(settlement: Settlement) -> Iterator[bytes]:
    """The financial actions of one pay-out: a row for each amount, and one for each part of its fee."""
    yield line(*ACTIONS)
    for row in settlement.rows:
        if row.kind != "payout":
            for breakdown, amount, charged in _parts(row):
                yield line(*_action(row, breakdown, amount, charged, settlement))


def write_payouts(settlements: Sequence[Settlement]) -> Iterator[bytes]:
    """What was paid out for a day: a row for each pay-out, also one of nothing."""
    yield line(*PAYOUTS)
    for settlement in settlements:
        rows = list(settlement.rows)
        paid = -sum(row.net for row in rows if row.kind == "payout")
        sums = [_sum(rows, kinds) for kinds in (("capture",), ("refund",), ("chargeback",), ("adjustment",))]
        amounts = [_text(_major(minor, settlement.currency)) for minor in (paid, *sums)]
        at = _time(settlement.closed_at)
        account = (f"ent_{settlement.psp}", settlement.account, f"ca_{settlement.psp}", settlement.currency)
        yield line(*account, settlement.trace, at, f"{settlement.day}T00:00:00.000", at, *amounts)


def _sum(rows: Sequence[Row], kinds: Sequence[str]) -> int:
    return sum(row.net + row.fee.total for row in rows if row.kind in kinds)


def _breakdown(row: Row, settlement: Settlement) -> tuple[str, ...]:
    net, fee = _major(row.net, row.net_currency), _major(row.fee.total, row.net_currency)
    gross, reserve = net + fee, Decimal(0)
    if row.kind in ("reserve_held", "reserve_released"):
        gross, fee, reserve = Decimal(0), -net, net
    parts = [_major(each, row.net_currency) for each in (row.fee.commission + row.fee.markup, row.fee.scheme)]
    more = [_major(each, row.net_currency) for each in (row.fee.interchange, row.fee.tax)]
    if row.fee.scheme:
        parts = [parts[0] + _FINER, parts[1] - _FINER]
    return (
        *(f"ent_{settlement.psp}", settlement.account, f"pc_{settlement.psp}", "web"),
        *(_type(row), row.charge_psp_ref or row.psp_ref, row.our_ref or row.charge_our_ref),
        *(_time(row.at), _time(settlement.closed_at), row.net_currency, settlement.trace),
        *map(_text, (gross, -fee, net, *(-part for part in (*parts, *more)), reserve)),
        *(row.currency, _text(_major(row.gross, row.currency) if row.charge_psp_ref else gross), row.rate or "1"),
        *(row.scheme.upper(), row.psp_ref, "UTC"),
    )


def _parts(row: Row) -> Iterator[tuple[str, Decimal, Decimal]]:
    """Breakdown type, amount in the holding currency, amount in the processing currency."""
    fee, currency = row.fee, row.net_currency
    if row.kind != "fee":
        type_ = _type(row)
        charged = _major(row.gross if row.charge_psp_ref else row.net, row.currency)
        yield _BREAKDOWNS.get(type_, type_), _major(row.net + fee.total, currency), charged
    parts = {
        "Minimum Billing Fee" if row.kind == "fee" else "Gateway Fixed Fee": fee.commission,
        "Premium Variable Fee": fee.markup,
        "Scheme Variable Fee": fee.scheme,
        "Interchange Fixed Fee": fee.interchange,
        "Gateway Fixed Fee Tax": fee.tax,
    }
    for breakdown, minor in parts.items():
        if minor:
            yield breakdown, -_major(minor, currency), -_major(minor, currency)


def _action(row: Row, breakdown: str, amount: Decimal, charged: Decimal, settlement: Settlement) -> tuple[str, ...]:
    type_, at = _type(row), _time(row.at)
    own = breakdown.endswith(("Fee", "Tax"))
    return (
        *(f"ent_{settlement.psp}", settlement.account, "Capture" if type_ == "Charge" else type_, row.psp_ref),
        *(row.charge_psp_ref or row.psp_ref, at, at, row.net_currency if own else row.currency),
        *("1" if own else row.rate or "1", row.net_currency, "", settlement.trace),
        *(row.our_ref or row.charge_our_ref, row.scheme.upper(), "10000", breakdown),
        *(_text(charged), _text(amount), row.net_currency, "1", "0", "UTC"),
    )


def _type(row: Row) -> str:
    if row.kind not in _TYPES:
        raise CannotWrite(f"Checkout.com's reports have no row of the kind {row.kind}")
    return "Clearing Failed" if row.kind == "capture" and row.gross < 0 else _TYPES[row.kind]


def _major(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-ISO[currency])


def _text(amount: Decimal) -> str:
    """1.50 is 1.5, and nothing is 0."""
    text = f"{amount:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if amount else "0"


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.000"
