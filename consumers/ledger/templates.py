"""An execution → its template and the entries of its journal. Nothing else makes entries (docs/books.md: the books)."""

from __future__ import annotations

from typing import Literal, NamedTuple, assert_never

from schemas.events import (
    LedgerEntry,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
)
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    CaptureReversed,
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    Execution,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    Share,
    VoidFailed,
)

MoneyBack = CaptureReversed | PaymentRefunded | RefundReversed | ChargebackOpened | ChargebackWon
Template = Literal["captured", "capture_reversed", "refunded", "refund_reversed", "chargeback_opened", "chargeback_won"]

Direction = Literal["debit", "credit"]

PLATFORM_FEES = "platform:fees"
_OTHER: dict[Direction, Direction] = {"debit": "credit", "credit": "debit"}


Entries = tuple[LedgerEntry, ...]


class Booked(NamedTuple):
    """The journal of a fact: its template, the part of the order that it is about, and its entries."""

    template: Template
    part: str
    entries: Entries


def receivable(psp: str) -> str:
    """What a PSP owes us."""
    return f"psp:{psp}:receivable"


def dispute_fees(psp: str) -> str:
    """The fees that a PSP has charged the platform for disputes."""
    return f"psp:{psp}:fees"


def payable(seller_account: str) -> str:
    """What we owe a seller."""
    return f"seller:{seller_account}:payable"


def booked(event: Execution) -> Booked | None:
    """The journal of an event; None if no money has moved."""
    match event:
        case PaymentCaptured():
            return Booked("captured", event.part, captured(event))
        case CaptureReversed():
            return Booked("capture_reversed", event.part, out(event, event.share))
        case PaymentRefunded():
            return Booked("refunded", event.part, out(event, event.share))
        case RefundReversed():
            return Booked("refund_reversed", event.part, negative(out(event, event.share)))
        case ChargebackOpened():
            return Booked("chargeback_opened", event.part, charged_back(event))
        case ChargebackWon():
            return Booked("chargeback_won", event.part, negative(charged_back(event)))
        case PaymentDeclined() | PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return None
        case PaymentAuthorised() | PaymentVoided() | AuthorisationExpired():
            return None
        case CaptureFailed() | VoidFailed() | RefundFailed():
            return None
        case DisputeInquiry() | ChargebackLost():
            return None
        case _:
            assert_never(event)


def captured(event: PaymentCaptured) -> Entries:
    """A capture: the PSP owes us the gross, we owe the seller the net, the fee is revenue."""
    return _entries(
        (receivable(event.psp), "debit", event.gross),
        (payable(event.seller_account), "credit", event.net),
        (PLATFORM_FEES, "credit", event.fee),
    )


def out(event: MoneyBack, share: Share) -> Entries:
    """A refund: the PSP no longer owes us the gross; the seller bears the net, the platform its share of the fee."""
    return _entries(
        (payable(event.seller_account), "debit", share.net),
        (PLATFORM_FEES, "debit", share.fee),
        (receivable(event.psp), "credit", share.gross),
    )


def charged_back(event: ChargebackOpened | ChargebackWon) -> Entries:
    """As `out`, and the PSP keeps its dispute fee, at the cost of the seller or of the platform."""
    entries, fee = out(event, event.share), event.dispute_fee
    if fee is None:
        return entries
    of_seller = event.fee_of_seller is not None
    bearer = payable(event.seller_account) if of_seller else dispute_fees(event.psp)
    return entries + _entries((bearer, "debit", fee), (receivable(event.psp), "credit", fee))


def negative(entries: Entries) -> Entries:
    """What undoes them: each on the other side."""
    return tuple([LedgerEntry(entry.account, _OTHER[entry.direction], entry.amount) for entry in entries])


def _entries(*lines: tuple[str, Direction, Money]) -> Entries:
    """An amount below zero is one on the other side; of zero there is no entry."""
    return tuple([_entry(*line) for line in lines if line[2].minor])


def _entry(account: str, direction: Direction, amount: Money) -> LedgerEntry:
    if amount.minor < 0:
        return LedgerEntry(account, _OTHER[direction], -amount)
    return LedgerEntry(account, direction, amount)
