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

PLATFORM_FEES = "platform:fees"


class Line(NamedTuple):
    """One signed line: a debit is above zero, a credit below. A line of zero makes no entry."""

    account: str
    minor: int
    currency: str

    def entry(self) -> LedgerEntry:
        amount = Money(abs(self.minor), self.currency)
        return LedgerEntry(account=self.account, direction="debit" if self.minor > 0 else "credit", amount=amount)


Lines = tuple[Line, ...]


class Booked(NamedTuple):
    """The journal of a fact: its template, the part of the order that it is about, and its lines."""

    template: Template
    part: str
    lines: Lines


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


def captured(event: PaymentCaptured) -> Lines:
    """A capture: the PSP owes us the gross, we owe the seller the net, the fee is revenue."""
    return _lines(
        event.gross.currency,
        (receivable(event.psp), event.gross.minor),
        (payable(event.seller_account), -event.net.minor),
        (PLATFORM_FEES, -event.fee.minor),
    )


def out(event: MoneyBack, share: Share) -> Lines:
    """A refund: the PSP no longer owes us the gross; the seller bears the net, the platform its share of the fee."""
    return _lines(
        share.gross.currency,
        (payable(event.seller_account), share.net.minor),
        (PLATFORM_FEES, share.fee.minor),
        (receivable(event.psp), -share.gross.minor),
    )


def charged_back(event: ChargebackOpened | ChargebackWon) -> Lines:
    """As `out`, and the PSP keeps its dispute fee, at the cost of the seller or of the platform."""
    lines, fee = out(event, event.share), event.dispute_fee
    if fee is None:
        return lines
    of_seller = event.fee_of_seller is not None
    bearer = payable(event.seller_account) if of_seller else dispute_fees(event.psp)
    return lines + _lines(fee.currency, (bearer, fee.minor), (receivable(event.psp), -fee.minor))


def negative(lines: Lines) -> Lines:
    return tuple([line._replace(minor=-line.minor) for line in lines])


def _lines(currency: str, *signed: tuple[str, int]) -> Lines:
    return tuple([Line(account, minor, currency) for account, minor in signed if minor])
