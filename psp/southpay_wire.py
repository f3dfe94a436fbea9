"""Southpay's JSON of answers, listings and webhooks → lines of its books. None for a line with an impossible field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from psp.lines import HostedPage, L, Line, Page, is_possible, is_possible_dispute
from psp.port import DisputeStatus, ListedCharge, ListedDispute, ListedOperation, OperationKind
from psp.wire import Wire, decline_code, is_page, is_reference, parsed
from schemas import times
from schemas.money import InvalidMoney, Money, exponent

EXPONENTS: Mapping[str, int] = {"CLP": 2, "ISK": 2}
"""Southpay counts these in hundredths, though ISO 4217 gives them no decimals."""

_SCHEMES = {"visa": "visa", "mc": "mastercard", "amex": "amex", "discover": "discover"}
_CHARGES: Mapping[str, Literal["succeeded", "declined", "pending", "voided", "reversed"]] = {
    "Authorised": "succeeded",
    "Captured": "succeeded",
    "Refused": "declined",
    "Pending": "pending",
    "Cancelled": "voided",
    "Expired": "voided",
    "Reversed": "reversed",
}
_OPERATIONS: Mapping[str, Literal["succeeded", "declined", "pending", "reversed"]] = {
    "Done": "succeeded",
    "Refused": "declined",
    "Pending": "pending",
    "Reversed": "reversed",
}
KINDS: Mapping[str, OperationKind] = {"Capture": "capture", "Cancel": "void", "Refund": "refund"}
_DISPUTES: Mapping[str, DisputeStatus] = {"Inquiry": "inquiry", "Open": "opened", "Won": "won", "Lost": "lost"}
_STAGES: Mapping[str, int] = {"Chargeback": 1, "SecondChargeback": 2}


class Amount(Wire):
    value: int
    currency: str


class Method(Wire):
    brand: str | None = None


class Action(Wire):
    type: Literal["redirect"]
    url: str
    expiresAt: str


class Payment(Wire):
    pspReference: str
    resultCode: Literal["Authorised", "Captured", "Refused", "Pending", "Cancelled", "Expired", "Reversed"]
    refusalReasonCode: str | None = None
    pendingReasonCode: str | None = None
    amount: Amount
    merchantReference: str
    merchantOrderReference: str
    paymentMethod: Method
    creationDate: str
    captureDelay: Literal["manual"] | None = None
    expiryDate: str | None = None  # of a payment that is captured later
    action: Action | None = None  # of a payment that the buyer makes on a page


class Modification(Wire):
    pspReference: str
    originalReference: str
    type: Literal["Capture", "Cancel", "Refund"]
    resultCode: Literal["Done", "Refused", "Pending", "Reversed"]
    refusalReasonCode: str | None = None
    pendingReasonCode: str | None = None
    amount: Amount
    merchantReference: str
    merchantOrderReference: str
    paymentMethod: Method
    creationDate: str


class Dispute(Wire):
    disputeReference: str
    originalReference: str
    stage: Literal["Chargeback", "SecondChargeback"]
    status: Literal["Inquiry", "Open", "Won", "Lost"]
    amount: Amount
    fee: Amount | None = None
    feeReturned: Amount | None = None
    reasonCode: str
    defenceDeadline: str | None = None
    merchantReference: str
    merchantOrderReference: str
    creationDate: str


class PaymentPage(Wire):
    payments: list[Payment]
    nextPageToken: str | None = None


class ModificationPage(Wire):
    modifications: list[Modification]
    nextPageToken: str | None = None


class DisputePage(Wire):
    disputes: list[Dispute]
    nextPageToken: str | None = None


class Event(Wire):
    eventId: str
    eventCode: str


class PaymentEvent(Event):
    payment: Payment


class ModificationEvent(Event):
    modification: Modification


class DisputeEvent(Event):
    dispute: Dispute


def charges(body: bytes) -> Page[ListedCharge] | None:
    page = parsed(PaymentPage, body)
    return None if page is None else _page([charge_line(told) for told in page.payments], page.nextPageToken)


def operations(body: bytes) -> Page[ListedOperation] | None:
    page = parsed(ModificationPage, body)
    return None if page is None else _page([operation_line(told) for told in page.modifications], page.nextPageToken)


def disputes(body: bytes) -> Page[ListedDispute] | None:
    page = parsed(DisputePage, body)
    return None if page is None else _page([dispute_line(told) for told in page.disputes], page.nextPageToken)


def _page(lines: Sequence[Line[L] | None], next_token: str | None) -> Page[L]:
    return Page(lines, bool(next_token), next_token)


def charge(body: bytes) -> Line[ListedCharge] | None:
    told = parsed(Payment, body)
    return None if told is None else charge_line(told)


def operation(body: bytes) -> Line[ListedOperation] | None:
    told = parsed(Modification, body)
    return None if told is None else operation_line(told)


def charge_line(told: Payment) -> Line[ListedCharge] | None:
    listed = _charge(told)
    if listed is None or told.action is None:
        return None if listed is None else Line(listed, _charge_code(told))
    page = _page_of(told.action)
    return None if page is None else Line(listed, _charge_code(told), page)


def _page_of(told: Action) -> HostedPage | None:
    expires_at = _time(told.expiresAt)
    return HostedPage(told.url, expires_at) if expires_at is not None and is_page(told.url) else None


def operation_line(told: Modification) -> Line[ListedOperation] | None:
    listed = _operation(told)
    return None if listed is None else Line(listed, _operation_code(told))


def dispute_line(told: Dispute) -> Line[ListedDispute] | None:
    listed = _dispute(told)
    return None if listed is None else Line(listed)


def _charge_code(told: Payment) -> str | None:
    """The code of a payment's refusal or cancellation, or of what it waits for."""
    match told.resultCode:
        case "Pending":
            return told.pendingReasonCode
        case "Cancelled" | "Expired":
            return told.resultCode.lower()
    return told.refusalReasonCode


def _operation_code(told: Modification) -> str | None:
    """The code of a modification's refusal, or of what it waits for."""
    return told.pendingReasonCode if told.resultCode == "Pending" else told.refusalReasonCode


def _charge(told: Payment) -> ListedCharge | None:
    amount, created_at = _ours(told.amount), _time(told.creationDate)
    expires_at = None if told.expiryDate is None else _time(told.expiryDate)
    if amount is None or created_at is None or not is_reference(told.pspReference):
        return None
    manual = told.captureDelay is not None
    if manual != (expires_at is not None):
        return None
    status = "authorised" if manual and told.resultCode == "Authorised" else _CHARGES[told.resultCode]
    return ListedCharge(
        told.merchantReference,
        told.pspReference,
        told.merchantOrderReference,
        amount,
        status,
        _scheme(told.paymentMethod.brand),
        created_at,
        expires_at,
    )


def _operation(told: Modification) -> ListedOperation | None:
    kind, status = KINDS[told.type], _OPERATIONS[told.resultCode]
    amount, created_at = _ours(told.amount), _time(told.creationDate)
    if amount is None or created_at is None or not is_possible(kind, status, amount):
        return None
    if not (is_reference(told.pspReference) and is_reference(told.originalReference)):
        return None
    return ListedOperation(
        kind,
        told.merchantReference,
        told.pspReference,
        told.originalReference,
        told.merchantOrderReference,
        amount,
        status,
        _scheme(told.paymentMethod.brand),
        created_at,
    )


def _dispute(told: Dispute) -> ListedDispute | None:
    amount, created_at = _ours(told.amount), _time(told.creationDate)
    asked = told.feeReturned if told.status == "Won" else told.fee
    fee = None if asked is None else _ours(asked)
    due_by = None if told.defenceDeadline is None else _time(told.defenceDeadline)
    stage = _STAGES[told.stage]
    if amount is None or created_at is None or not is_possible_dispute(stage, amount, fee):
        return None
    if (asked is not None and (fee is None or fee.currency != amount.currency)) or (
        told.defenceDeadline is not None and due_by is None
    ):
        return None
    if not (is_reference(told.disputeReference) and is_reference(told.originalReference)):
        return None
    return ListedDispute(
        told.merchantReference,
        told.disputeReference,
        told.originalReference,
        told.merchantOrderReference,
        stage,
        _DISPUTES[told.status],
        amount,
        fee,
        decline_code(told.reasonCode),
        due_by,
        created_at,
    )


def theirs(amount: Money) -> dict[str, object]:
    return {"value": amount.minor * _scale(amount.currency), "currency": amount.currency}


def _scheme(brand: str | None) -> str:
    return _SCHEMES.get(brand, "other") if brand else ""


def _scale(currency: str) -> int:
    """The number of Southpay's minor units in one of ours. Errors: InvalidMoney."""
    ours = exponent(currency)
    return int(10 ** (EXPONENTS.get(currency, ours) - ours))


def _ours(amount: Amount) -> Money | None:
    """Southpay's amount as Money; None for an unknown currency or a fraction of our minor unit."""
    try:
        minor, rest = divmod(amount.value, _scale(amount.currency))
        return None if rest else Money(minor, amount.currency)
    except InvalidMoney:
        return None


def _time(text: str) -> datetime | None:
    try:
        return times.instant(text)
    except ValueError:
        return None
