"""An execution → its template and the lines of its journal. Nothing else writes lines (docs/books.md: the books)."""

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
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    VoidFailed,
)

Execution = (
    PaymentCaptured
    | PaymentDeclined
    | PaymentPending
    | OutcomeUnknown
    | OutcomeUnresolved
    | AuthorisationExpired
    | CaptureFailed
    | CaptureReversed
    | ChargebackLost
    | ChargebackOpened
    | ChargebackWon
    | DisputeInquiry
    | PaymentAuthorised
    | PaymentRefunded
    | PaymentVoided
    | RefundFailed
    | RefundReversed
    | VoidFailed
)
Template = Literal["captured"]

PLATFORM_FEES = "platform:fees"


class Line(NamedTuple):
    """One line, signed: a debit is above zero, a credit below. Of a zero nothing is written."""

    account: str
    minor: int
    currency: str

    def entry(self) -> LedgerEntry:
        amount = Money(abs(self.minor), self.currency)
        return LedgerEntry(account=self.account, direction="debit" if self.minor > 0 else "credit", amount=amount)


Lines = tuple[Line, ...]


def receivable(psp: str) -> str:
    """What a PSP owes us."""
    return f"psp:{psp}:receivable"


def payable(seller_account: str) -> str:
    """What we owe a seller."""
    return f"seller:{seller_account}:payable"


def booked(event: Execution) -> tuple[Template, Lines] | None:
    """What its journal is to be; None where no money has moved."""
    match event:
        case PaymentCaptured():
            return "captured", captured(event)
        case PaymentDeclined() | PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return None
        case (
            AuthorisationExpired()
            | CaptureFailed()
            | CaptureReversed()
            | ChargebackLost()
            | ChargebackOpened()
            | ChargebackWon()
            | DisputeInquiry()
            | PaymentAuthorised()
            | PaymentRefunded()
            | PaymentVoided()
            | RefundFailed()
            | RefundReversed()
            | VoidFailed()
        ):
            return None
        case _:
            assert_never(event)


def captured(event: PaymentCaptured) -> Lines:
    """The PSP owes us the gross; we owe the seller the net; the rest is ours."""
    return _lines(
        event.gross.currency,
        (receivable(event.psp), event.gross.minor),
        (payable(event.seller_account), -event.net.minor),
        (PLATFORM_FEES, -event.fee.minor),
    )


def _lines(currency: str, *signed: tuple[str, int]) -> Lines:
    return tuple([Line(account, minor, currency) for account, minor in signed if minor])
