"""What PSPs call their reports."""

from __future__ import annotations

from pathlib import PurePath

from simulator.settlements.terms import BankFormat, Format


def report_name(format_: Format, psp: str, day: str, number: int, currency: str) -> str:
    match format_:
        case "adyen":
            return f"settlement_detail_report_batch_{number}.csv"
        case "stripe":
            return f"payout_reconciliation.itemized.5-{psp}-{day}.csv"
        case "paypal":
            return f"STL-{day.replace('-', '')}.01.009.CSV"
        case "native":
            return f"settlement-{psp}-{number}-{currency}.csv"


def bank_report_name(format_: BankFormat, account: str, day: str) -> str:
    ending = {"camt.053": "xml", "camt.054": "xml", "mt940": "sta", "mt942": "sta", "bai2": "bai", "nacha": "ach"}[
        format_
    ]
    return f"{format_.replace('.', '')}-{account}-{day}.{ending}"


def first_name(name: str) -> str:
    """Of a version that another follows."""
    path = PurePath(name)
    return f"{path.stem}.first{path.suffix}"
