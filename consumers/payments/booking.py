"""Movements and journals of captures, refunds and disputes → the operation or dispute that they book. Pure.

Also tells events about operations and disputes from those about an automatic capture, for which nothing more is read.
"""

from __future__ import annotations

from typing import get_args

from consumers.payments import disputing, operating
from consumers.payments.advancing import NOTHING, payment_of
from consumers.payments.operating import Booking
from consumers.payments.operation import step_of
from consumers.payments.payment import Payments
from schemas.errors import Permanent
from schemas.events import (
    CaptureRequested,
    OperationKind,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentPending,
    RefundRequested,
    VoidRequested,
    WalletCredited,
)
from schemas.journals import JournalPosted
from schemas.money_back import MoneyBackOutcome, WalletDebited
from topics.runtime.shape.consumer import Cause, Decision

_ALWAYS = frozenset((CaptureRequested, VoidRequested, RefundRequested, WalletDebited, *get_args(MoneyBackOutcome)))

# Movement kind or template → the kind of operation that it books, and whether it books the reversal.
BOOKS: dict[str, tuple[OperationKind | None, bool]] = {
    "captured": ("capture", False),
    "capture_reversed": ("capture", True),
    "refunded": ("refund", False),
    "refund_reversed": ("refund", True),
    "chargeback_opened": (None, False),
    "chargeback_won": (None, True),
}


def is_money_back(event: object) -> bool:
    """Whether the event is about an operation, a dispute or an authorisation, and not an automatic capture alone."""
    match event:
        case PaymentCaptured():
            return event.capture_id is not None or event.turn is not None
        case WalletCredited():
            return event.reason is not None or bool(event.part)
        case JournalPosted():
            return event.template != "captured" or bool(event.part)
        case PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return event.operation is not None
        case _:
            return type(event) in _ALWAYS


def book(state: Payments, event: Booking, cause: Cause) -> Decision:
    """The journal of a pay-out is about no payment."""
    if event.checkout_id is None:
        return NOTHING
    payment = payment_of(state, event.checkout_id)
    name = event.template if isinstance(event, JournalPosted) else event.reason or "captured"
    kind, taken_back = BOOKS[name]
    part = event.part or ""
    if kind is None:
        dispute_id, _, stage = part.rpartition(".")
        return disputing.book(
            state, event, dispute_id, _number(stage, part), step_of(1, taken_back=taken_back), payment, cause
        )
    id_, _, turn = part.partition("#")
    step = step_of(_number(turn, part) if turn else 1, taken_back=taken_back)
    return operating.book(state, event, kind, id_, step, payment, cause)


def _number(text: str, part: str) -> int:
    if not text.isdecimal():
        raise Permanent("unknown_part", f"{part!r} is no part of an order")
    return int(text)
