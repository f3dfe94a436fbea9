"""Lines of a PSP's books, parsed by its adapter → the reply about the operation or dispute that we ask about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, assert_never

from psp.port import (
    Authorised,
    Capture,
    Captured,
    Charge,
    Declined,
    DisputeState,
    FindReply,
    Listed,
    ListedCharge,
    ListedDispute,
    ListedOperation,
    Listing,
    ListingError,
    Notification,
    NotThere,
    OperationKind,
    Pending,
    Reference,
    Refund,
    Refunded,
    Reversed,
    Unknown,
    Void,
    Voided,
    Yes,
)
from psp.wire import decline_code
from schemas.money import Money

STAGE_MAX = 9
L = TypeVar("L", bound=Listed)


class HostedPage(NamedTuple):
    """Where the buyer pays a pending charge, and until when."""

    url: str
    expires_at: datetime | None


class Line(NamedTuple, Generic[L]):
    """One line, the code of its decline or of what it waits for, and the page on which a charge waits to be paid."""

    listed: L
    code: str | None = None
    page: HostedPage | None = None


class Page(NamedTuple, Generic[L]):
    """The answer to a question, or a page of a listing. None stands for a line that cannot be parsed."""

    lines: Sequence[Line[L] | None]
    more: bool
    cursor: str | None


def listing(psp: str, page: Page[L] | None) -> Listing[L]:
    """The page as a listing. Errors: ListingError if it, or one of its lines, cannot be parsed."""
    if page is None or (page.more and not page.lines):
        raise ListingError(f"{psp}: the listing is not what the PSP promises")
    lines = [line for line in page.lines if line is not None]
    if len(lines) < len(page.lines):
        raise ListingError(f"{psp}: the listing holds a line that cannot be read")
    return Listing([line.listed for line in lines], page.cursor)


def operations_of(kind: OperationKind, listing: Listing[ListedOperation], psp: str) -> Listing[ListedOperation]:
    """The listing's operations. Errors: ListingError if it has one of another kind."""
    if any(operation.kind != kind for operation in listing.entries):
        raise ListingError(f"{psp}: the listing of {kind}s holds something else")
    return listing


def notification(event_id: str, line: Line[Any] | None) -> Notification | None:
    """A webhook about that line; None if the line cannot be parsed."""
    return None if line is None else Notification(event_id, line.listed, line.code)


def found_charge(asked: Charge | Reference, page: Page[ListedCharge] | None) -> FindReply:
    found = _one(page, "several_charges")
    return charge_reply(asked, found) if isinstance(found, Line) else found


def found_operation(asked: Capture | Void | Refund | Reference, page: Page[ListedOperation] | None) -> FindReply:
    found = _one(page, "several_operations")
    return operation_reply(asked, found) if isinstance(found, Line) else found


def _one(page: Page[L] | None, several: str) -> Line[L] | Unknown | NotThere:
    """The page's one line. Two lines under one reference of ours are Unknown: a person must look at them."""
    if page is None:
        return Unknown("unreadable")
    if page.more or len(page.lines) > 1:
        return Unknown(several)
    if not page.lines:
        return NotThere()
    return page.lines[0] or Unknown("unreadable")


def found_dispute(asked: Reference, page: Page[ListedDispute] | None) -> FindReply:
    """The reply about the stage that was asked for, or the last one. A PSP lists each stage of a dispute once."""
    if page is None or page.more or any(line is None for line in page.lines):
        return Unknown("unreadable")
    stages = [line.listed for line in page.lines if line is not None]
    if any(told.dispute_reference != asked.call_id for told in stages):
        return Unknown("reference_mismatch")
    by_stage = {told.stage: told for told in stages}
    if len(by_stage) < len(stages):
        return Unknown("several_disputes")
    found = by_stage.get(asked.stage or max(by_stage, default=0))
    return NotThere() if found is None else _state(found)


def _state(told: ListedDispute) -> DisputeState:
    return DisputeState(
        told.dispute_reference, told.stage, told.status, told.amount, told.fee, told.reason, told.due_by
    )


OutcomeReply = Yes | Reversed | Declined | Pending | Unknown


def charge_reply(asked: Charge | Reference, line: Line[ListedCharge] | None) -> OutcomeReply:
    """A PSP's line about a charge → the reply. Unknown unless the line is about the charge that we asked for."""
    if line is None:
        return Unknown("unreadable")
    listed, code, page = line
    if listed.reference != asked.call_id:
        return Unknown("reference_mismatch")
    if isinstance(asked, Charge) and listed.amount != asked.amount:
        return Unknown("amount_mismatch")
    if listed.status == "declined":
        return Declined(decline_code(code), listed.psp_reference, listed.scheme or None)
    if listed.status == "pending":
        return Pending(listed.psp_reference, decline_code(code), *(page or ()))
    if isinstance(asked, Charge) and not _as_asked(asked, listed):
        return Unknown("capture_mismatch")
    if listed.status == "voided":  # nothing was captured, and nothing can be captured any more
        return Declined(decline_code(code), listed.psp_reference, listed.scheme or None)
    if code is not None:
        return Unknown("contradictory")
    return _charged(listed)


def _as_asked(charge: Charge, listed: ListedCharge) -> bool:
    """Captured for a charge to capture, Authorised for one to authorise; Unknown if the PSP did the other."""
    if charge.capture:
        return listed.status in ("succeeded", "reversed") and listed.expires_at is None
    return listed.status in ("authorised", "voided")


def _charged(listed: ListedCharge) -> Captured | Authorised | Reversed | Unknown:
    if listed.status == "reversed":
        return Reversed(listed.psp_reference, listed.amount)
    scheme = listed.scheme or "other"
    if listed.status == "succeeded":
        return Captured(listed.psp_reference, scheme, listed.amount)
    if listed.expires_at is None:
        return Unknown("unreadable")
    return Authorised(listed.psp_reference, scheme, listed.amount, listed.expires_at)


def operation_reply(asked: Capture | Void | Refund | Reference, line: Line[ListedOperation] | None) -> OutcomeReply:
    """A PSP's line about a capture, void or refund → the reply. Unknown unless it is the one that we asked for, of the
    charge that we named.

    The PSP alone says how much a void releases. If we ask by reference only, charge and amount are not compared.
    """
    if line is None:
        return Unknown("unreadable")
    listed, code, _ = line
    if listed.kind != asked.kind:
        return Unknown("kind_mismatch")
    if listed.reference != asked.call_id:
        return Unknown("reference_mismatch")
    if not isinstance(asked, Reference) and listed.charge_reference != asked.psp_reference:
        return Unknown("charge_mismatch")
    if isinstance(asked, Capture | Refund) and listed.amount != asked.amount:
        return Unknown("amount_mismatch")
    if listed.status == "declined":
        return Declined(decline_code(code), listed.psp_reference, listed.scheme or None)
    if listed.status == "pending":
        return Pending(listed.psp_reference, decline_code(code))
    if code is not None:
        return Unknown("contradictory")
    return Reversed(listed.psp_reference, listed.amount) if listed.status == "reversed" else _done(listed)


def _done(listed: ListedOperation) -> Captured | Voided | Refunded:
    match listed.kind:
        case "capture":
            return Captured(listed.psp_reference, listed.scheme or "other", listed.amount)
        case "void":
            return Voided(listed.psp_reference, listed.amount)
        case "refund":
            return Refunded(listed.psp_reference, listed.amount)
        case _:
            assert_never(listed.kind)


def is_possible(kind: OperationKind, status: str, amount: Money) -> bool:
    """Whether status and amount are possible: voids are never reversed, and no amount is below zero."""
    return amount.minor >= 0 and not (kind == "void" and status == "reversed")


def is_possible_dispute(stage: int, amount: Money, fee: Money | None) -> bool:
    return 1 <= stage <= STAGE_MAX and amount.minor > 0 and (fee is None or fee.minor >= 0)
