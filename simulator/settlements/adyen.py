"""Settlements of one batch → Adyen's Settlement Details CSV: debit and credit apart, unsigned, blank where nothing is.

Columns and types: docs.adyen.com/reporting/settlement-reconciliation/transaction-level/settlement-details-report
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from simulator.currencies import ISO
from simulator.settlements.csv_lines import line
from simulator.settlements.model import CannotWrite, Fee, Kind, Row, Settlement, decimal_text

COLUMNS = (
    *("Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method"),
    *("Creation Date", "TimeZone", "Type", "Modification Reference"),
    *("Gross Currency", "Gross Debit (GC)", "Gross Credit (GC)", "Exchange Rate"),
    *("Net Currency", "Net Debit (NC)", "Net Credit (NC)"),
    *("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)"),
    *("Payment Method Variant", "Modification Merchant Reference", "Batch Number"),
    *(f"Reserved{number}" for number in range(4, 11)),
)
MORE_COLUMNS = (
    *("Booking Date", "Booking Date TimeZone", "Metadata"),
    *("Balance Currency", "Net Debit (BC)", "Net Credit (BC)", "Payment Fees (NC)", "DCC Markup (NC)"),
    *("Funds Destination", "Balance Platform Debit", "Balance Platform Credit"),
    *("Shopper Country", "Clearing Network", "Merchant Order Reference", "Dispute Reference"),
    *("ARN", "Settlement Flow", "Authorisation Code", "Gross Fees (NC)"),
)
EXPONENTS: Mapping[str, int] = {**ISO, "CLP": 2, "ISK": 2}
"""Where Adyen counts other than ISO 4217 (docs.adyen.com/development-resources/currency-codes)."""

_TYPES: Mapping[Kind, str] = {
    "capture": "Settled",
    "refund": "Refunded",
    "refund_reversed": "RefundedReversed",
    "chargeback": "Chargeback",
    "chargeback_reversed": "ChargebackReversed",
    "second_chargeback": "SecondChargeback",
    "fee": "Fee",
    "payout": "MerchantPayout",
    "payout_reversed": "BankInstructionReturned",
    "reserve_held": "ReserveAdjustment",
    "reserve_released": "ReserveAdjustment",
    "carried": "Balancetransfer",
    "adjustment": "ManualCorrected",
    "invoice": "InvoiceDeduction",
}
_METHODS = {"mastercard": "mc"}
_VARIANTS = {"visa": "visaclassic", "mastercard": "mccredit"}
_OF_NO_ORDER = {
    "fee",
    "payout",
    "payout_reversed",
    "reserve_held",
    "reserve_released",
    "carried",
    "adjustment",
    "invoice",
}
_ZONE = ZoneInfo("Europe/Amsterdam")


def write(settlements: Sequence[Settlement], *, more: bool = True) -> Iterator[bytes]:
    """The file of a batch, a line at a time; without `more` in the columns that every account has."""
    yield line(*COLUMNS, *(MORE_COLUMNS if more else ()))
    for settlement in settlements:
        for row in (each for whole in settlement.rows for each in unsigned(whole)):
            yield line(*_fields(row, settlement), *(_more(row, settlement) if more else ()))


def unsigned(row: Row) -> Iterator[Row]:
    """The row, and what is given back of fees as a row of its own: the columns of fees have no sign."""
    if row.fee.total >= 0 or row.kind == "fee":
        yield row
        return
    yield replace(row, net=row.net + row.fee.total, fee=Fee())
    back = -row.fee.total
    yield Row("fee", row.at, row.net_currency, 0, row.net_currency, back, row.fee, psp_ref=row.psp_ref)


def _fields(row: Row, settlement: Settlement) -> tuple[str, ...]:
    digits, fee = EXPONENTS[row.net_currency], row.fee
    nets = _debit_credit(row.net, row.net_currency)
    fees = (fee.commission + fee.tax, fee.markup, fee.scheme, fee.interchange) if row.kind != "fee" else (0, 0, 0, 0)
    return (
        "TallystickSimulated",
        settlement.account,
        row.charge_psp_ref or row.psp_ref,
        row.charge_our_ref or row.our_ref,
        _METHODS.get(row.scheme, row.scheme),
        *_local(row.at),
        _type(row),
        _modification(row, settlement),
        *_gross(row),
        row.net_currency,
        *nets,
        *(decimal_text(_scaled(part, row.net_currency), digits) if part else "" for part in fees),
        _VARIANTS.get(row.scheme, row.scheme),
        _carried(row, settlement) or row.our_ref,
        settlement.ref,
        *[""] * 7,
    )


def _more(row: Row, settlement: Settlement) -> tuple[str, ...]:
    balance = (row.net_currency, *_debit_credit(row.net, row.net_currency))
    is_dispute = "chargeback" in row.kind
    charged = row.fee.total if row.kind != "fee" else 0
    total = decimal_text(_scaled(charged, row.net_currency), EXPONENTS[row.net_currency]) if charged else ""
    return (
        *(*_local(settlement.closed_at), ""),
        *(*balance, total, ""),
        *("", "", ""),
        *("", "", row.order_ref, row.psp_ref if is_dispute else ""),
        *("", "", "", total),
    )


def _type(row: Row) -> str:
    if row.kind not in _TYPES:
        raise CannotWrite(f"Adyen's report has no row of the kind {row.kind}")
    return _TYPES[row.kind]


def _modification(row: Row, settlement: Settlement) -> str:
    """What was done, by the PSP's reference; of what is about no order, in words."""
    match row.kind:
        case "payout":
            return f"{settlement.trace} batch {settlement.ref}, {settlement.account}"
        case "carried":
            return "Balancetransfer"
        case "fee" if not row.psp_ref:
            return f"Transaction Fees {datetime.fromtimestamp(row.at // 1_000_000, UTC):%B %d %Y}"
    return row.psp_ref


def _carried(row: Row, settlement: Settlement) -> str:
    if row.kind != "carried":
        return ""
    return f"Balancetransfer {'from' if int(row.payout_ref) < settlement.number else 'to'} batch {row.payout_ref}"


def _gross(row: Row) -> tuple[str, ...]:
    """Gross currency, debit, credit and rate; only the currency where the row is about no order."""
    if row.kind in _OF_NO_ORDER:
        return row.currency, "", "", ""
    return row.currency, *_debit_credit(row.gross, row.currency), row.rate or "1"


def _debit_credit(minor: int, currency: str) -> tuple[str, str]:
    text = decimal_text(_scaled(abs(minor), currency), EXPONENTS[currency])
    return ("", text) if minor > 0 else (text, "") if minor < 0 else ("", "")


def _scaled(minor: int, currency: str) -> int:
    return minor * int(10 ** (EXPONENTS[currency] - ISO[currency]))


def _local(at: int) -> tuple[str, str]:
    return _local_second(at // 1_000_000)


@lru_cache(1024)  # in large files a thousand rows share a second
def _local_second(at_s: int) -> tuple[str, str]:
    local = datetime.fromtimestamp(at_s, _ZONE)
    return f"{local:%Y-%m-%d %H:%M:%S}", f"{local:%Z}"
