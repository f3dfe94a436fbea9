"""What PSPs call their reports."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import PurePath

from simulator.settlements.model import Settlement
from simulator.settlements.terms import BankFormat, Format


def report_name(format_: Format, psp: str, day: str, number: int, currency: str) -> str:
    payout = Settlement(psp, f"{psp}-account", number, currency, day, 0, ()).trace
    compact = day.replace("-", "")
    match format_:
        case "adyen":
            return f"settlement_detail_report_batch_{number}.csv"
        case "adyen_accounting":
            return f"payments_accounting_report_{day.replace('-', '_')}.csv"
        case "stripe":
            return f"payout_reconciliation.itemized.5-{psp}-{day}.csv"
        case "stripe_activity":
            return f"balance_change_from_activity.itemized.3-{psp}-{day}.csv"
        case "paypal":
            return f"STL-{compact}.01.009.CSV"
        case "paypal_trr":
            return f"TRR-{compact}.01.009.CSV"
        case "checkoutcom":
            return f"settlement-breakdown_ent_{psp}_{compact}_{payout.lower()}_1.csv"
        case "checkoutcom_actions":
            return f"financial-actions_ent_{psp}_{compact}_{payout.lower()}_1.csv"
        case "native":
            return f"settlement-{psp}-{number}-{currency}.csv"


def bank_report_name(format_: BankFormat, account: str, day: str) -> str:
    ending = {"camt.053": "xml", "camt.054": "xml", "mt940": "sta", "mt942": "sta", "bai2": "bai", "nacha": "ach"}[
        format_
    ]
    return f"{format_.replace('.', '')}-{account}-{day}.{ending}"


def payouts_name(psp: str, day: str) -> str:
    """Of Checkout.com's report of what was paid out for a day."""
    following = date.fromisoformat(day) + timedelta(days=1)
    return f"payouts_ent_{psp}_{day.replace('-', '')}_{following.isoformat().replace('-', '')}_1.csv"


def first_name(name: str) -> str:
    """Of a version that another follows."""
    path = PurePath(name)
    return f"{path.stem}.first{path.suffix}"
