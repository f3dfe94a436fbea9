"""A settlement → Tallystick's own CSV, as docs/settlement-csv.md describes it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from simulator.currencies import ISO
from simulator.settlements.csv_lines import line
from simulator.settlements.model import Row, Settlement, decimal_text

COLUMNS = (
    "kind",
    "our_ref",
    "psp_ref",
    "order_ref",
    "at",
    "currency",
    "gross",
    "fee",
    "net",
    "commission",
    "markup",
    "scheme",
    "interchange",
    "tax",
    "fx_rate",
    "net_currency",
    "payout_ref",
)


def write(settlement: Settlement) -> Iterator[bytes]:
    """The file, a line at a time. A dispute's row is found by the PSP's reference alone."""
    head = (settlement.account, settlement.ref, settlement.currency, settlement.day, settlement.day)
    yield line("tallystick-settlement", "1", *head)
    yield line(*COLUMNS)
    count = total = 0
    for row in settlement.rows:
        count, total = count + 1, total + row.net
        yield line(*_fields(row))
    yield line("trailer", str(count), decimal_text(total, ISO[settlement.currency]))


def _fields(row: Row) -> tuple[str, ...]:
    fee, digits = row.fee, ISO[row.net_currency]
    parts = (fee.commission, fee.markup, fee.scheme, fee.interchange, fee.tax)
    return (
        row.kind,
        row.our_ref,
        row.psp_ref,
        row.order_ref,
        datetime.fromtimestamp(row.at // 1_000_000, UTC).isoformat(),
        row.currency,
        decimal_text(row.gross, ISO[row.currency]),
        decimal_text(fee.total, digits),
        decimal_text(row.net, digits),
        *(decimal_text(part, digits) for part in parts),
        row.rate,
        row.net_currency,
        row.payout_ref,
    )
