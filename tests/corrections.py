"""Corrections that persons have approved, for tests of the rooms that book them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from schemas.corrections import CorrectionApproved, hash_of, movements_of
from schemas.journals import LedgerEntry
from schemas.money import Money

LOSSES, RECEIVABLE, PAYABLE = "platform:losses", "psp:northpay:receivable", "seller:seller-1:payable"
Line = tuple[str, Literal["debit", "credit"], int]


def entries(*lines: Line, currency: str = "EUR") -> tuple[LedgerEntry, ...]:
    return tuple(LedgerEntry(account, direction, Money(minor, currency)) for account, direction, minor in lines)


def correction(*lines: Line, number: int = 1, currency: str = "EUR", **changes: Any) -> CorrectionApproved:
    """Without lines: the seller bears what the PSP keeps, EUR 5.00."""
    booked = entries(*(lines or ((PAYABLE, "debit", 500), (RECEIVABLE, "credit", 500))), currency=currency)
    return made_of(booked, number, **changes)


def made_of(booked: Sequence[LedgerEntry], number: int = 1, **changes: Any) -> CorrectionApproved:
    fields: dict[str, Any] = {
        "correction_id": f"{number:032x}",
        "break_id": "b" * 32,
        "movements": movements_of(booked),
        "entries": tuple(booked),
        "reason": "the PSP keeps it",
        "maker": "operator ann",
        "approver": "operator ben",
        "sha256": hash_of([number]),
    }
    return CorrectionApproved(**fields | changes)
