"""An execution, of an order or a pay-out, a settlement or a correction → its template and entries (docs/books.md)."""

from __future__ import annotations

from typing import Literal, NamedTuple, assert_never

from schemas.corrections import CorrectionApproved
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined, PaymentPending
from schemas.journals import LedgerEntry, Template
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
from schemas.payouts import (
    PayoutExecuted,
    PayoutExecution,
    PayoutFailed,
    PayoutNotSent,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
)
from schemas.settlements import (
    AmountRole,
    Settled,
    Settlement,
    SettlementMatched,
    SettlementReclassified,
    StatementMatched,
)

MoneyBack = CaptureReversed | PaymentRefunded | RefundReversed | ChargebackOpened | ChargebackWon
Booking = Execution | PayoutExecution | Settlement | CorrectionApproved
Direction = Literal["debit", "credit"]

PLATFORM_FEES = "platform:fees"
IN_TRANSIT = "payouts:in-transit"  # what has left the sellers, and is not at its destination yet
BANK_FEES = "bank:fees"
SPREAD = "platform:fx-spread"  # what we keep of conversions
_OTHER: dict[Direction, Direction] = {"debit": "credit", "credit": "debit"}


Entries = tuple[LedgerEntry, ...]
Line = tuple[str, Direction, Money]


class Booked(NamedTuple):
    """The journal of a fact: its template, the part of the order or pay-out that it is about (a settlement's revision), and its
    entries."""

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


def clearing(bank_account: str) -> str:
    """What a bank account of ours has paid or got, and its statement has not shown yet."""
    return f"bank:{bank_account}:clearing"


def exchange(currency: str, to: str) -> str:
    """What conversions have taken in of one currency, and given out of the other."""
    return f"fx:{currency}-{to}"


def booked(event: Booking) -> Booked | None:
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
        case PayoutSubmitted():
            return Booked("payout_submitted", event.part, submitted(event))
        case PayoutPaid():
            return Booked("payout_paid", event.part, paid(event))
        case PayoutFailed():
            return Booked("payout_failed", event.part, negative(submitted(event))) if event.submitted else None
        case PayoutReturned():
            return Booked("payout_returned", event.part, returned(event))
        case PayoutUnknown() | PayoutUnresolved() | PayoutNotSent():
            return None
        case SettlementMatched():
            return Booked("settled", str(event.revision), settled(event))
        case SettlementReclassified():
            return Booked("reclassified", str(event.revision), settled(event))
        case StatementMatched():
            return Booked("statement", str(event.revision), settled(event))
        case CorrectionApproved():
            return Booked("corrected", "", event.entries)
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


def submitted(event: PayoutExecuted) -> Entries:
    """A pay-out that the provider has taken: we no longer owe it to the seller, but to its destination."""
    return _entries(
        (payable(event.seller_account), "debit", event.amount),
        *_converted(event),
        (IN_TRANSIT, "credit", event.sent),
    )


def _converted(event: PayoutExecuted) -> tuple[Line, ...]:
    """Each currency balances by itself: what the destination gets has cost us this, and the rest is ours."""
    conversion = event.conversion
    if conversion is None:
        return ()
    exchanged = exchange(event.amount.currency, conversion.target.currency)
    return (
        (exchanged, "credit", conversion.cost),
        (SPREAD, "credit", conversion.spread),
        (exchanged, "debit", conversion.target),
    )


def paid(event: PayoutPaid) -> Entries:
    """It has arrived: our bank account has paid it."""
    return _entries(
        (IN_TRANSIT, "debit", event.sent),
        (clearing(event.bank_account), "credit", event.sent),
    )


def returned(event: PayoutReturned) -> Entries:
    """It has come back: the seller gets all of it again, at the rate of the way out. What the bank has kept is ours to bear."""
    return (
        *_entries(
            (clearing(event.bank_account), "debit", event.returned), (BANK_FEES, "debit", event.sent - event.returned)
        ),
        *negative(_entries(*_converted(event))),
        *_entries((payable(event.seller_account), "credit", event.amount)),
    )


_SETTLED: dict[AmountRole, str] = {
    "receivable": "psp:{psp}:receivable",
    "suspense": "suspense",
    "fees": "psp:{psp}:fees",
    "reserve": "psp:{psp}:reserve",
    "balance": "psp:{psp}:balance",
    "bank_clearing": "bank:{bank}:clearing",
    "bank": "bank:{bank}",
    "bank_fees": BANK_FEES,
    "losses": "platform:losses",
    "fx": "psp:{psp}:fx",
    "fx_spread": SPREAD,
}


def settled(event: Settled) -> Entries:
    """What reconciliation says of a settlement or statement: the difference to what was said before, by account."""
    return _entries(
        *[
            (_SETTLED[each.role].format(psp=event.psp, bank=event.bank_account), "debit", each.amount)
            for each in event.amounts
        ]
    )


def negative(entries: Entries) -> Entries:
    """What undoes them: each on the other side."""
    return tuple([LedgerEntry(entry.account, _OTHER[entry.direction], entry.amount) for entry in entries])


def _entries(*lines: Line) -> Entries:
    """An amount below zero is one on the other side; of zero there is no entry."""
    return tuple([_entry(*line) for line in lines if line[2].minor])


def _entry(account: str, direction: Direction, amount: Money) -> LedgerEntry:
    if amount.minor < 0:
        return LedgerEntry(account, _OTHER[direction], -amount)
    return LedgerEntry(account, direction, amount)
