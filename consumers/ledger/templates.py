"""An execution → the lines of its journal. Nothing else writes lines (DESIGN.md, section 6: the books)."""

from __future__ import annotations

from schemas.events import LedgerEntry, PaymentCaptured

PLATFORM_FEES = "platform:fees"

Entries = tuple[LedgerEntry, ...]


def receivable(psp: str) -> str:
    """What a PSP owes us."""
    return f"psp:{psp}:receivable"


def payable(seller_account: str) -> str:
    """What we owe a seller."""
    return f"seller:{seller_account}:payable"


def captured(event: PaymentCaptured) -> Entries:
    """The PSP owes us the gross; we owe the seller the net; the rest is ours. A fee of nothing has no line."""
    debit = LedgerEntry(account=receivable(event.psp), direction="debit", amount=event.gross)
    credit = LedgerEntry(account=payable(event.seller_account), direction="credit", amount=event.net)
    if not event.fee.minor:
        return debit, credit
    fee = LedgerEntry(account=PLATFORM_FEES, direction="credit", amount=event.fee)
    if not event.net.minor:
        return debit, fee
    return debit, credit, fee
