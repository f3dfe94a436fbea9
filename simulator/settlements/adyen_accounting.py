"""Settlements of one batch → Adyen's Payment accounting CSV: a row for each status that a payment has reached.

Columns and record types: docs.adyen.com/reporting/invoice-reconciliation/payment-accounting-report
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from simulator.currencies import ISO
from simulator.settlements.adyen import EXPONENTS
from simulator.settlements.csv_lines import line
from simulator.settlements.model import Kind, Row, Settlement, decimal_text

COLUMNS = (
    *("Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method", "Booking Date"),
    *("TimeZone", "Main Currency", "Main Amount", "Record Type", "Payment Currency", "Received (PC)"),
    *("Authorized (PC)", "Captured (PC)", "Settlement Currency", "Payable (SC)", "Commission (SC)", "Markup (SC)"),
    *("Scheme Fees (SC)", "Interchange (SC)", "Processing Fee Currency", "Processing Fee (FC)", "User Name"),
    *("Payment Method Variant", "Modification Merchant Reference", "Modification Psp Reference"),
)
_STATUSES: Mapping[Kind, tuple[str, ...]] = {
    "capture": ("Received", "Authorised", "SentForSettle", "Settled"),
    "refund": ("SentForRefund", "Refunded"),
    "refund_reversed": ("RefundedReversed",),
    "chargeback": ("NotificationOfChargeback", "Chargeback"),
    "second_chargeback": ("SecondChargeback",),
    "chargeback_reversed": ("ChargebackReversed",),
}
_ZONE = ZoneInfo("Europe/Amsterdam")


def write(settlements: Sequence[Settlement]) -> Iterator[bytes]:
    """The file, a line at a time: payments alone, the last status of each with what it comes to."""
    yield line(*COLUMNS)
    for settlement in settlements:
        for row in settlement.rows:
            statuses = _STATUSES.get(row.kind, ())
            for status in statuses:
                yield line(*_fields(row, status, settlement, is_last=status == statuses[-1]))


def _fields(row: Row, status: str, settlement: Settlement, *, is_last: bool) -> tuple[str, ...]:
    charged, fee = _text(row.gross, row.currency), row.fee
    registers = {"Received": 0, "Authorised": 1, "SentForSettle": 2}
    moved = [charged if registers.get(status) == place else "" for place in range(3)]
    if is_last:
        moved[2] = _text(-row.gross, row.currency)
    parts = (row.net, fee.commission + fee.tax, fee.markup, fee.scheme, fee.interchange)
    settled = (row.net_currency, *(_text(part, row.net_currency) for part in parts)) if is_last else ("",) * 6
    local = datetime.fromtimestamp((settlement.closed_at if is_last else row.at) // 1_000_000, _ZONE)
    return (
        *("TallystickSimulated", settlement.account, row.charge_psp_ref, row.charge_our_ref, row.scheme),
        *(f"{local:%Y-%m-%d %H:%M:%S}", f"{local:%Z}", row.currency, charged, status, row.currency, *moved),
        *settled,
        *("EUR", "0.0500", "", row.scheme, row.our_ref, "" if row.kind == "capture" else row.psp_ref),
    )


def _text(minor: int, currency: str) -> str:
    digits = EXPONENTS[currency]
    return decimal_text(minor * int(10 ** (digits - ISO[currency])), digits)
