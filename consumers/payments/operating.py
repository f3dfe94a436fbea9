"""(a payment, events of executor, wallet or ledger about its operations) → the changes of operation and order. Pure.

The executor's events are facts: they are never refused here, and a repeat changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from consumers.payments.advancing import NOTHING, order_moved, order_of, payment_of, step_of_order
from consumers.payments.asking import status_changed
from consumers.payments.operation import (
    Authorisation,
    Operation,
    OperationDetail,
    OperationStep,
    step_of,
)
from consumers.payments.payment import Fact, Order, OrderParts, Payment, Payments, Stored
from consumers.payments.revenue_line import revenue_line
from schemas.errors import Permanent
from schemas.events import (
    AnyEvent,
    OperationKind,
    OrderDetail,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentPending,
    WalletCredited,
)
from schemas.ids import OWN_PREFIX
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    CaptureReversed,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    Share,
    VoidFailed,
    WalletDebited,
)
from topics.runtime.shape.consumer import Cause, Decision

Waiting = PaymentPending | OutcomeUnknown | OutcomeUnresolved
Failed = CaptureFailed | VoidFailed | RefundFailed
Ended = PaymentVoided | AuthorisationExpired
Shared = CaptureReversed | PaymentRefunded | RefundReversed
Booking = WalletCredited | WalletDebited | JournalPosted
Outcome = PaymentAuthorised | PaymentCaptured | Waiting | Failed | Ended | Shared

_DETAIL_RANK: dict[str, int] = {"": 0, "unknown": 1, "pending": 2, "unresolved": 3}


def happen(state: Payments, event: Outcome, cause: Cause) -> Decision:
    """Apply an event of the executor. Of those about the charge itself only the authorisation and a capture that was done
    again come here.
    """
    payment = payment_of(state, event.checkout_id)
    order = order_of(state, payment, event.payment_order_id)
    match event:
        case PaymentAuthorised():
            return _authorise(state, payment, order, event, cause)
        case PaymentCaptured():
            return _capture(state, payment, order, event, cause)
        case PaymentPending():
            return _wait(state, payment, order, event, "pending", cause)
        case OutcomeUnknown():
            return _wait(state, payment, order, event, "unknown", cause)
        case OutcomeUnresolved():
            return _wait(state, payment, order, event, "unresolved", cause)
        case CaptureFailed():
            return _fail(state, payment, order, "capture", event.capture_id, event.code, cause)
        case VoidFailed():
            return _fail(state, payment, order, "void", event.void_id, event.code, cause)
        case RefundFailed():
            return _fail(state, payment, order, "refund", event.refund_id, event.code, cause)
        case PaymentVoided() | AuthorisationExpired():
            return _end(state, payment, order, event, cause)
        case CaptureReversed() | PaymentRefunded() | RefundReversed():
            return _share(state, payment, order, event, cause)
        case _:
            assert_never(event)


# ── the authorisation ────────────────────────────────────────────────────────────────────────────────────────────────


def _authorise(state: Payments, payment: Payment, order: Order, event: PaymentAuthorised, cause: Cause) -> Decision:
    if order.status == "NOT_STARTED":
        raise Permanent("not_placed", "an authorisation for an order that was never placed")
    if order.status != "EXECUTING" or order.detail == "authorised":
        return NOTHING
    moved = order._replace(detail="authorised", version=order.version + 1)
    kept = Authorisation(
        order.payment_order_id,
        order.checkout_id,
        event.psp,
        event.scheme,
        event.psp_reference,
        cause.now,
        event.expires_at,
    )
    changes: list[Stored] = [moved, kept, step_of_order(order, moved, "authorised", cause)]
    return order_moved(state, payment, moved, changes, cause, shown=True)


def _end(state: Payments, payment: Payment, order: Order, event: Ended, cause: Cause) -> Decision:
    """End an authorisation by a void or its expiry. An order without any capture has failed."""
    changes: list[Stored] = []
    said: list[AnyEvent] = []
    if isinstance(event, PaymentVoided):
        void = _of(state, order, "void", event.void_id)
        if void.step:
            return NOTHING
        # A void is not booked.
        done = void._replace(
            status="succeeded",
            detail="",
            code=None,
            amount=event.released.minor,
            step=1,
            wallet_step=1,
            ledger_step=1,
            done_at=cause.now,
        )
        done, changes = _changed(void, done, cause)
        said = _status_event(done)
    parts = state.parts_of(order.payment_order_id)
    after = order
    if order.status == "EXECUTING":
        ended: OrderDetail = "voided" if isinstance(event, PaymentVoided) else "expired"
        after = order._replace(status="FAILED", detail=ended)
    elif order.detail == "partly_captured":
        after = order._replace(detail=parts.detail(event.gross.minor))
    return operation_moved(state, payment, order, after, changes, cause, parts=parts, said=said)


# ── captures, refunds, and what is taken back of them ────────────────────────────────────────────────────────────────


def _capture(state: Payments, payment: Payment, order: Order, event: PaymentCaptured, cause: Cause) -> Decision:
    """Note a capture. The first makes the order SUCCESS, even if it was voided or expired meanwhile: the money is there."""
    if order.status == "NOT_STARTED":
        raise Permanent("not_placed", "a capture of an order that was never placed")
    operation = _capture_of(state, payment, order, event.capture_id, event.gross.currency, cause)
    step = step_of(event.turn)
    if operation.step >= step:
        return NOTHING
    done, changes = _changed(operation, _done(operation, Share(event.gross, event.fee, event.net), step, cause), cause)
    parts = state.parts_of(order.payment_order_id, done)
    gross = (event.order_gross or event.gross).minor
    may_be_more = order.is_open or order.status == "EXECUTING"
    is_open = may_be_more and not event.final and parts.captured(gross) < gross
    changes.append(revenue_line(event, cause, is_first=order.status != "SUCCESS"))
    if order.status != "SUCCESS":
        changes.append(Fact(order.payment_order_id, event.psp, event.scheme, event.psp_reference, cause.now))
    after = order._replace(status="SUCCESS", detail="partly_captured" if is_open else parts.detail(gross))
    return operation_moved(state, payment, order, after, changes, cause, parts=parts, said=_status_event(done))


def _share(state: Payments, payment: Payment, order: Order, event: Shared, cause: Cause) -> Decision:
    taken_back = not isinstance(event, PaymentRefunded)
    if isinstance(event, CaptureReversed):
        operation = _capture_of(state, payment, order, event.capture_id, event.gross.currency, cause)
    else:
        operation = _of(state, order, "refund", event.refund_id)
    step = step_of(event.turn, taken_back=taken_back)
    if operation.step >= step:
        return NOTHING
    after = _done(operation, event.share, step, cause)
    if taken_back:
        after = after._replace(status="reversed", done_at=operation.done_at)
    after, changes = _changed(operation, after, cause)
    changes.append(revenue_line(event, cause))
    parts = state.parts_of(order.payment_order_id, after)
    moved = by_sums(order, parts, event.gross)
    return operation_moved(state, payment, order, moved, changes, cause, parts=parts, said=_status_event(after))


def _done(operation: Operation, share: Share, step: int, cause: Cause) -> Operation:
    return operation._replace(
        status="succeeded",
        detail="",
        code=None,
        amount=share.gross.minor,
        fee=share.fee.minor,
        net=share.net.minor,
        step=step,
        done_at=cause.now,
    )


def _fail(
    state: Payments, payment: Payment, order: Order, kind: OperationKind, id_: str, code: str, cause: Cause
) -> Decision:
    operation = _of(state, order, kind, id_)
    if operation.status != "processing":
        return NOTHING
    failed, changes = _changed(operation, operation._replace(status="failed", detail="", code=code), cause)
    parts = state.parts_of(order.payment_order_id, failed)
    return operation_moved(state, payment, order, order, changes, cause, parts=parts, said=_status_event(failed))


def _wait(
    state: Payments, payment: Payment, order: Order, event: Waiting, detail: OperationDetail, cause: Cause
) -> Decision:
    """Keep the operation `processing` while its outcome is open. No event is published, as for a charge."""
    assert event.operation is not None
    operation = _of(state, order, event.operation, event.operation_id or "")
    if operation.status != "processing" or _DETAIL_RANK[operation.detail] >= _DETAIL_RANK[detail]:
        return NOTHING
    _, changes = _changed(operation, operation._replace(detail=detail), cause)
    return Decision(changes, revision=payment.version)


# ── wallet and ledger ────────────────────────────────────────────────────────────────────────────────────────────────


def book(
    state: Payments, event: Booking, kind: OperationKind, id_: str, step: int, payment: Payment, cause: Cause
) -> Decision:
    """Note a booking by wallet or ledger, which may be consumed before the executor's event."""
    order = order_of(state, payment, event.payment_order_id)
    currency = event.money()[0].currency
    if kind == "capture":
        operation = _capture_of(state, payment, order, id_ or None, currency, cause)
    else:
        operation = _of(state, order, kind, id_)
    if isinstance(event, JournalPosted):
        moved = operation._replace(ledger_step=max(operation.ledger_step, step))
    else:
        moved = operation._replace(wallet_step=max(operation.wallet_step, step))
    if moved == operation:
        return NOTHING
    moved = moved._replace(version=operation.version + 1)
    parts = state.parts_of(order.payment_order_id, moved)
    return operation_moved(state, payment, order, order, [moved], cause, parts=parts)


# ── the order ────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_sums(order: Order, parts: OrderParts, gross: Money) -> Order:
    """The order with the detail that follows from its refunds and disputes; unchanged while more may be captured."""
    if order.status != "SUCCESS" or order.is_open:
        return order
    return order._replace(detail=parts.detail(gross.minor))


def _flagged(order: Order, parts: OrderParts) -> Order:
    """The order with its flags of booking: for manual capture set once, when no more can be captured and all is booked."""
    captures = parts.captures
    if order.status != "SUCCESS" or order.is_open or not any(one.contents for one in captures):
        return order
    wallet = order.wallet_updated or all(one.wallet_step >= one.step for one in captures)
    ledger = order.ledger_updated or all(one.ledger_step >= one.step for one in captures)
    flipped = (wallet - order.wallet_updated) + (ledger - order.ledger_updated)
    if not flipped:
        return order
    return order._replace(wallet_updated=wallet, ledger_updated=ledger, version=order.version + flipped)


def operation_moved(
    state: Payments,
    payment: Payment,
    before: Order,
    after: Order,
    changes: Sequence[Stored],
    cause: Cause,
    *,
    parts: OrderParts,
    said: Sequence[AnyEvent] = (),
) -> Decision:
    """Change and publish the operation or dispute first (`said`), then the order if it moved."""
    shown = after != before
    changes = [*changes]
    if shown:
        after = after._replace(version=after.version + 1)
        changes.append(step_of_order(before, after, after.detail, cause))
    after = _flagged(after, parts)
    if after is not before:
        changes.append(after)
    return order_moved(state, payment, after, changes, cause, first=said, shown=shown)


# ── the operation ────────────────────────────────────────────────────────────────────────────────────────────────────


def _of(state: Payments, order: Order, kind: OperationKind, id_: str) -> Operation:
    operation = state.operations.get((kind, id_))
    if operation is None or operation.payment_order_id != order.payment_order_id:
        raise Permanent("unknown_operation", f"no {kind} {id_} of order {order.payment_order_id}")
    return operation


def _capture_of(
    state: Payments, payment: Payment, order: Order, capture_id: str | None, currency: str, cause: Cause
) -> Operation:
    """The capture that was asked for; or the automatic one, which has a row from its first event besides the charge's."""
    if capture_id is not None:
        return _of(state, order, "capture", capture_id)
    id_ = f"{OWN_PREFIX}{order.payment_order_id}"
    known = state.operations.get(("capture", id_))
    return known or Operation(
        kind="capture",
        operation_id=id_,
        checkout_id=order.checkout_id,
        payment_order_id=order.payment_order_id,
        owner=payment.owner,
        currency=currency,
        amount=None,
        requested_at=cause.now,
        changed_at=cause.now,
        event_id=cause.event_id,
        version=0,
    )


def _changed(before: Operation, after: Operation, cause: Cause) -> tuple[Operation, list[Stored]]:
    """→ the operation's next version, and the changes to store: that version and a line of history"""
    after = after._replace(version=before.version + 1, changed_at=cause.now)
    step = OperationStep(
        after.checkout_id,
        after.payment_order_id,
        after.kind,
        after.operation_id,
        before.status,
        after.status,
        after.code or after.detail,
        cause.now,
        cause.event_id,
    )
    return after, [after, step]


def _status_event(operation: Operation) -> list[AnyEvent]:
    """The operation's event for its owner. None for an automatic capture, which the order's event covers."""
    return [] if operation.contents is None else [status_changed(operation)]
