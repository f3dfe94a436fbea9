"""Settlements of a day → Stripe's payout reconciliation, itemized: signed amounts in the settlement's currency, one fee.

Columns: docs.stripe.com/reports/report-types/payout-reconciliation
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from simulator.currencies import ISO
from simulator.settlements.csv_lines import line
from simulator.settlements.model import CannotWrite, Kind, Row, Settlement, decimal_text

COLUMNS = (
    "automatic_payout_id",
    "automatic_payout_effective_at_utc",
    "balance_transaction_id",
    "created_utc",
    "available_on_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "source_id",
    "description",
    "customer_facing_amount",
    "customer_facing_currency",
    "charge_id",
    "payment_method_type",
    "card_brand",
    "trace_id",
    "trace_id_status",
    "payment_metadata[reference]",
    "payment_metadata[order]",
    "refund_metadata[reference]",
)
ACTIVITY = tuple(name for name in COLUMNS if "payout" not in name and "trace" not in name)
_CATEGORIES: Mapping[Kind, str] = {
    "capture": "charge",
    "refund": "refund",
    "refund_reversed": "refund_failure",
    "chargeback": "dispute",
    "second_chargeback": "dispute",
    "chargeback_reversed": "dispute_reversal",
    "fee": "fee",
    "payout": "payout",
    "payout_reversed": "payout_reversal",
    "reserve_held": "risk_reserved_funds",
    "reserve_released": "risk_reserved_funds",
    "adjustment": "other_adjustment",
}


def write(settlements: Sequence[Settlement]) -> Iterator[bytes]:
    """The file, a line at a time. Each settlement is a payout; what the account owes is taken by a negative one."""
    yield line(*COLUMNS)
    for settlement in settlements:
        for place, row in enumerate(settlement.rows):
            yield line(*_fields(row, place, settlement))


def write_activity(settlements: Sequence[Settlement]) -> Iterator[bytes]:
    """What has changed the balance, without what was paid out and without the names of pay-outs."""
    yield line(*ACTIVITY)
    for settlement in settlements:
        for place, row in enumerate(settlement.rows):
            if row.kind != "payout":
                told = dict(zip(COLUMNS, _fields(row, place, settlement), strict=True))
                yield line(*(told[name] for name in ACTIVITY))


def _fields(row: Row, place: int, settlement: Settlement) -> tuple[str, ...]:
    digits, of_order = ISO[row.net_currency], bool(row.charge_psp_ref)
    is_refund = row.kind in ("refund", "refund_reversed")
    return (
        settlement.payout_id,
        _time(settlement.closed_at),
        f"txn_{settlement.payout_id[3:15]}{place:08d}",
        _time(row.at),
        _time(settlement.closed_at),
        row.net_currency.lower(),
        decimal_text(row.net + row.fee.total, digits),
        decimal_text(row.fee.total, digits),
        decimal_text(row.net, digits),
        _category(row),
        settlement.payout_id if row.kind == "payout" else row.psp_ref,
        "STRIPE PAYOUT" if row.kind == "payout" else row.order_ref,
        *_customer_facing(row),
        row.charge_psp_ref,
        "card" if of_order else "",
        row.scheme,
        settlement.trace if row.kind == "payout" else "",
        "supported" if row.kind == "payout" else "",
        row.charge_our_ref if is_refund else row.our_ref or row.charge_our_ref,
        row.order_ref,
        row.our_ref if is_refund else "",
    )


def _category(row: Row) -> str:
    if row.kind not in _CATEGORIES:
        raise CannotWrite(f"Stripe's report has no row of the kind {row.kind}")
    return "charge_failure" if row.kind == "capture" and row.gross < 0 else _CATEGORIES[row.kind]


def _customer_facing(row: Row) -> tuple[str, str]:
    """What the customer paid or got, in the customer's currency."""
    if not row.charge_psp_ref:
        return "", ""
    return decimal_text(row.gross, ISO[row.currency]), row.currency.lower()


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"
