"""(a payment, a request for a capture, void or refund) → the operation placed, or refused with a code. Pure.

Refusals by amount are a courtesy here: the executor decides, since it alone knows what is open at the PSP.
"""

from __future__ import annotations

from hashlib import blake2b

import orjson

from consumers.payments.advancing import NOTHING, order_moved
from consumers.payments.operation import Operation, OperationRefusal, OperationStep
from consumers.payments.payment import Order, OrderMoney, Payment, Payments
from schemas.errors import Permanent
from schemas.events import CaptureRequested, OperationKind, RefundRequested, VoidRequested
from schemas.money import Money
from schemas.money_back import (
    CapturePlaced,
    CaptureStatusChanged,
    OperationPlaced,
    OperationStatusChanged,
    RefundPlaced,
    RefundStatusChanged,
    VoidPlaced,
    VoidStatusChanged,
)
from topics.runtime.shape.consumer import Broken, Cause, Decision

Requested = CaptureRequested | VoidRequested | RefundRequested
STATUS_CHANGED: dict[OperationKind, type[OperationStatusChanged]] = {
    "capture": CaptureStatusChanged,
    "void": VoidStatusChanged,
    "refund": RefundStatusChanged,
}
Reason = tuple[str, str]  # code, and a text that begins with the field


def request(state: Payments, event: Requested, owner: str, cause: Cause, contents_key: bytes) -> Decision:
    """Place the operation or refuse it. A repeated request changes nothing; a refusal leaves the id free."""
    why = _claimed(event, cause) or _unknown(state, event, owner)
    if why:
        return _refuse(event, owner, why, cause)
    asked = contents_hash(event, contents_key)
    known = state.operations.get((event.kind, event.operation_id))
    if known is not None:
        conflict = _conflict(known, event, owner, asked)
        return _refuse(event, owner, conflict, cause) if conflict else NOTHING
    order = state.orders[event.payment_order_id]
    why = _refusal(state, event, order, state.asked[event.payment_order_id])
    if why:
        return _refuse(event, owner, why, cause)
    return _place(state, event, order, asked, cause)


def contents_hash(event: Requested, key: bytes) -> str:
    """The same hash for equal requests, whichever door they came by."""
    asked = event.model_dump(exclude={"owner", "received_at"}, exclude_none=True) | {"kind": event.kind}
    return blake2b(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), key=key, digest_size=16).hexdigest()


def _claimed(event: Requested, cause: Cause) -> Reason | None:
    """Refuse an upstream's event that states what our doors alone state: the owner and the time of receipt."""
    if cause.upstream is None:
        return None
    if event.owner is not None:
        return "owner_claimed", "owner: the topic names the owner, the event must not"
    if event.received_at is not None:
        return "time_claimed", "received_at: the HTTP door alone says when it took it"
    return None


def _unknown(state: Payments, event: Requested, owner: str) -> Reason | None:
    """Refuse a request for a payment or order that does not exist, or belongs to another owner: both look alike."""
    payment = state.payments.get(event.checkout_id)
    if payment is None or payment.owner != owner:
        return "unknown_payment", "checkout_id: there is no such payment"
    if event.payment_order_id not in payment.order_ids:
        return "unknown_order", "payment_order_id: there is no such order in this payment"
    return None


def _conflict(known: Operation, event: Requested, owner: str, asked: str) -> Reason | None:
    if known.owner != owner:
        return "id_taken", f"{event.kind}_id: this id is taken"
    if known.contents != asked:
        return "contents_conflict", f"{event.kind}_id: this {event.kind} has other contents"
    return None


def _refusal(state: Payments, event: Requested, order: Order, terms: OrderMoney) -> Reason | None:
    if event.asked is not None and event.asked.currency != terms.gross.currency:
        return "wrong_currency", "currency: not that of the order"
    if isinstance(event, RefundRequested):
        return _not_refundable(state, event.asked, order, terms.gross)
    if terms.capture is None:
        return "not_authorised", "payment_order_id: the order is captured automatically"
    if order.status in ("NOT_STARTED", "FAILED"):
        return "not_authorised", f"payment_order_id: the order is {_shown(order)}"
    return None


def _not_refundable(state: Payments, amount: Money, order: Order, gross: Money) -> Reason | None:
    """Refuse a refund by amount; only if nothing more can be captured, since the executor alone knows of open captures."""
    if order.status in ("NOT_STARTED", "FAILED"):
        return "not_captured", f"payment_order_id: the order is {_shown(order)}"
    if order.status != "SUCCESS" or order.is_open:
        return None
    parts = state.parts_of(order.payment_order_id)
    left = parts.refundable(gross.minor)
    if amount.minor <= left - parts.disputed:
        return None
    if amount.minor <= left:
        return "order_disputed", "payment_order_id: what is left of the order is disputed"
    return "exceeds_refundable", "amount: more than is left to refund"


def _shown(order: Order) -> str:
    return f"{order.status} ({order.detail})" if order.detail else order.status


def _place(state: Payments, event: Requested, order: Order, asked: str, cause: Cause) -> Decision:
    payment = state.payments[event.checkout_id]
    placed = _operation(event, payment, asked, state.asked[event.payment_order_id].gross.currency, cause)
    step = OperationStep(
        event.checkout_id,
        event.payment_order_id,
        event.kind,
        event.operation_id,
        None,
        placed.status,
        "",
        cause.now,
        cause.event_id,
    )
    said = [_placed(event), status_changed(placed)]
    return order_moved(state, payment, order, [placed, step], cause, first=said)


def _operation(event: Requested, payment: Payment, asked: str, currency: str, cause: Cause) -> Operation:
    return Operation(
        kind=event.kind,
        operation_id=event.operation_id,
        checkout_id=event.checkout_id,
        payment_order_id=event.payment_order_id,
        owner=payment.owner,
        currency=currency,
        amount=event.asked.minor if event.asked else None,
        requested_at=event.received_at or cause.now,
        changed_at=cause.now,
        event_id=cause.event_id,
        contents=asked,
        final=event.final if isinstance(event, CaptureRequested) else None,
        reason=event.reason if isinstance(event, RefundRequested) else None,
    )


def _placed(event: Requested) -> OperationPlaced:
    of = {"payment_order_id": event.payment_order_id, "checkout_id": event.checkout_id}
    match event:
        case CaptureRequested():
            return CapturePlaced(**of, capture_id=event.capture_id, amount=event.asked, final=event.final or None)
        case VoidRequested():
            return VoidPlaced(**of, void_id=event.void_id)
        case RefundRequested():
            return RefundPlaced(**of, refund_id=event.refund_id, amount=event.asked)


def status_changed(operation: Operation) -> OperationStatusChanged:
    return STATUS_CHANGED[operation.kind](
        checkout_id=operation.checkout_id,
        owner=operation.owner,
        payment_order_id=operation.payment_order_id,
        operation_id=operation.operation_id,
        status=operation.status,
        amount=operation.money,
        code=operation.code,
    )


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse(event: Requested, owner: str, why: Reason, cause: Cause) -> Decision:
    return _refused(
        event.kind, event.operation_id, event.checkout_id, event.payment_order_id, owner, why, event.asked, cause
    )


def refuse_broken(broken: Broken, kind: OperationKind, owner: str, cause: Cause) -> Decision:
    """Refuse a malformed request, by the kind that it asked for. Errors: Permanent if it names no operation to refuse."""
    operation_id, order_id = broken.ids.get(f"{kind}_id"), broken.ids.get("payment_order_id")
    if operation_id is None or order_id is None:
        raise Permanent("malformed", f"{broken.field}: {broken.detail}; and it names no {kind} to refuse", ours=False)
    why = broken.code, f"{broken.field}: {broken.detail}"
    return _refused(kind, operation_id, broken.subject_id, order_id, owner, why, None, cause)


def _refused(
    kind: OperationKind,
    operation_id: str,
    checkout_id: str,
    payment_order_id: str,
    owner: str,
    why: Reason,
    amount: Money | None,
    cause: Cause,
) -> Decision:
    """A refusal with its code and text, for the sender."""
    code, detail = why
    said = STATUS_CHANGED[kind](
        checkout_id=checkout_id,
        owner=owner,
        payment_order_id=payment_order_id,
        operation_id=operation_id,
        status="refused",
        amount=amount,
        code=code,
        detail=detail,
    )
    kept = OperationRefusal(
        kind, operation_id, checkout_id, payment_order_id, owner, code, detail, cause.now, cause.event_id
    )
    return Decision([kept], [said])
