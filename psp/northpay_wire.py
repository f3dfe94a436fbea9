"""Northpay's JSON of answers, listings and webhooks → lines of its books. None for a line with an impossible field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from psp.lines import HostedPage, L, Line, Page, is_possible, is_possible_dispute
from psp.port import DisputeStatus, ListedCharge, ListedDispute, ListedOperation
from psp.wire import Wire, decline_code, is_page, is_reference, parsed
from schemas.money import InvalidMoney, Money, exponent

_SCHEMES = frozenset({"visa", "mastercard", "amex", "discover"})
_STATUSES: dict[str, Literal["succeeded", "authorised", "declined", "pending", "voided", "reversed"]] = {
    "succeeded": "succeeded",
    "requires_capture": "authorised",
    "declined": "declined",
    "pending": "pending",
    "canceled": "voided",
    "reversed": "reversed",
}


class Metadata(Wire):
    order: str


class Redirect(Wire):
    url: str
    expires_at: int


class NextAction(Wire):
    redirect_to_url: Redirect


class Charge(Wire):
    id: str
    status: Literal["succeeded", "requires_capture", "declined", "pending", "canceled", "reversed"]
    decline_code: str | None = None
    pending_reason: str | None = None
    cancellation_reason: str | None = None
    network: str | None = None
    amount: int
    currency: str
    reference: str
    metadata: Metadata
    created: int
    capture_before: int | None = None  # of a charge that is captured later
    next_action: NextAction | None = None  # of a charge that the buyer pays on a page


class Operation(Wire):
    id: str
    object: Literal["capture", "void", "refund"]
    charge: str
    status: Literal["succeeded", "declined", "pending", "reversed"]
    decline_code: str | None = None
    pending_reason: str | None = None
    network: str | None = None
    amount: int
    currency: str
    reference: str
    metadata: Metadata
    created: int


class Dispute(Wire):
    id: str
    object: Literal["dispute"]
    charge: str
    stage: int
    status: DisputeStatus
    amount: int
    currency: str
    fee: int | None = None
    fee_returned: int | None = None
    reason: str
    due_by: int | None = None
    reference: str
    metadata: Metadata
    created: int


class ChargePage(Wire):
    data: list[Charge]
    has_more: bool


class OperationPage(Wire):
    data: list[Operation]
    has_more: bool


class DisputePage(Wire):
    data: list[Dispute]
    has_more: bool


class Event(Wire):
    id: str
    type: str


class ChargeEvent(Event):
    data: Charge


class OperationEvent(Event):
    data: Operation


class DisputeEvent(Event):
    data: Dispute


def charges(body: bytes) -> Page[ListedCharge] | None:
    page = parsed(ChargePage, body)
    return None if page is None else _page(page, [charge_line(told) for told in page.data])


def operations(body: bytes) -> Page[ListedOperation] | None:
    page = parsed(OperationPage, body)
    return None if page is None else _page(page, [operation_line(told) for told in page.data])


def disputes(body: bytes) -> Page[ListedDispute] | None:
    page = parsed(DisputePage, body)
    return None if page is None else _page(page, [dispute_line(told) for told in page.data])


def _page(page: ChargePage | OperationPage | DisputePage, lines: Sequence[Line[L] | None]) -> Page[L]:
    return Page(lines, page.has_more, page.data[-1].id if page.has_more and page.data else None)


def charge(body: bytes) -> Line[ListedCharge] | None:
    told = parsed(Charge, body)
    return None if told is None else charge_line(told)


def operation(body: bytes) -> Line[ListedOperation] | None:
    told = parsed(Operation, body)
    return None if told is None else operation_line(told)


def charge_line(told: Charge) -> Line[ListedCharge] | None:
    listed = _charge(told)
    if listed is None or told.next_action is None:
        return None if listed is None else Line(listed, _charge_code(told))
    page = _page_of(told.next_action.redirect_to_url)
    return None if page is None else Line(listed, _charge_code(told), page)


def _page_of(told: Redirect) -> HostedPage | None:
    expires_at = _time(told.expires_at)
    return HostedPage(told.url, expires_at) if expires_at is not None and is_page(told.url) else None


def operation_line(told: Operation) -> Line[ListedOperation] | None:
    listed = _operation(told)
    return None if listed is None else Line(listed, _operation_code(told))


def dispute_line(told: Dispute) -> Line[ListedDispute] | None:
    listed = _dispute(told)
    return None if listed is None else Line(listed)


def _charge_code(told: Charge) -> str | None:
    """The code of a charge's decline or cancellation, or of what it waits for."""
    match told.status:
        case "pending":
            return told.pending_reason
        case "canceled":
            return told.cancellation_reason
    return told.decline_code


def _operation_code(told: Operation) -> str | None:
    """The code of an operation's decline, or of what it waits for."""
    return told.pending_reason if told.status == "pending" else told.decline_code


def _charge(told: Charge) -> ListedCharge | None:
    amount, created_at = _money(told.amount, told.currency), _time(told.created)
    expires_at = None if told.capture_before is None else _time(told.capture_before)
    if amount is None or created_at is None or not is_reference(told.id):
        return None
    if expires_at is None and (told.capture_before is not None or told.status == "requires_capture"):
        return None
    status, order = _STATUSES[told.status], told.metadata.order
    return ListedCharge(told.reference, told.id, order, amount, status, _scheme(told.network), created_at, expires_at)


def _operation(told: Operation) -> ListedOperation | None:
    amount, created_at = _money(told.amount, told.currency), _time(told.created)
    if amount is None or created_at is None or not is_possible(told.object, told.status, amount):
        return None
    if not (is_reference(told.id) and is_reference(told.charge)):
        return None
    return ListedOperation(
        told.object,
        told.reference,
        told.id,
        told.charge,
        told.metadata.order,
        amount,
        told.status,
        _scheme(told.network),
        created_at,
    )


def _dispute(told: Dispute) -> ListedDispute | None:
    amount, created_at = _money(told.amount, told.currency), _time(told.created)
    asked = told.fee_returned if told.status == "won" else told.fee
    fee = None if asked is None else _money(asked, told.currency)
    due_by = None if told.due_by is None else _time(told.due_by)
    if amount is None or created_at is None or not is_possible_dispute(told.stage, amount, fee):
        return None
    if (asked is not None and fee is None) or (told.due_by is not None and due_by is None):
        return None
    if not (is_reference(told.id) and is_reference(told.charge)):
        return None
    return ListedDispute(
        told.reference,
        told.id,
        told.charge,
        told.metadata.order,
        told.stage,
        told.status,
        amount,
        fee,
        decline_code(told.reason),
        due_by,
        created_at,
    )


def _scheme(network: str | None) -> str:
    return network if network in _SCHEMES else "other" if network else ""


def _money(minor: int, currency: str) -> Money | None:
    try:
        exponent(currency.upper())
        return Money(minor, currency.upper())
    except InvalidMoney:
        return None


def _time(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None
