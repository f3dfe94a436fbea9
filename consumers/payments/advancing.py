"""A change of one of a payment's orders → the payment's change, and the events for webhooks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.payments.payment import Order, Payment, Payments, Step, Stored
from schemas.errors import Permanent
from schemas.events import AnyEvent, PaymentCompleted, PaymentStatus, PaymentStatusChanged
from topics.runtime.shape.consumer import Cause, Decision

NOTHING = Decision()


def order_moved(
    state: Payments,
    payment: Payment,
    moved: Order,
    changes: Sequence[Stored],
    cause: Cause,
    *,
    first: Sequence[AnyEvent] = (),
    shown: bool = False,
) -> Decision:
    """The decision about a payment after a change of one of its orders. The events of `first` come before the payment's.
    `shown`: publish the payment's state even if its status stays the same.
    """
    own = moved.payment_order_id
    orders = [moved if id_ == own else state.orders[id_] for id_ in payment.order_ids]
    return advance(payment, orders, _status(payment, orders), changes, cause, first=first, shown=shown)


def _status(payment: Payment, orders: Sequence[Order]) -> PaymentStatus:
    """The payment's status. It ends when each order has ended: a declined order does not stop the others."""
    if payment.status in {"received", "in_review", "refused"}:
        return payment.status
    statuses = {order.status for order in orders}
    if "EXECUTING" in statuses:
        return "executing"
    if "SUCCESS" not in statuses:
        return "failed"
    return "partially_succeeded" if "FAILED" in statuses else "succeeded"


def advance(
    payment: Payment,
    orders: Sequence[Order],
    status: PaymentStatus,
    changes: Sequence[Stored],
    cause: Cause,
    *,
    first: Sequence[AnyEvent] = (),
    shown: bool = False,
) -> Decision:
    """The payment's change, its line of history and its event; nothing if nothing changed."""
    ends = payment.done_at is None and all(order.is_through for order in orders)
    if status == payment.status and not (ends or shown or first):
        return Decision(changes, revision=payment.version)
    after = payment._replace(status=status, done_at=cause.now if ends else payment.done_at, version=payment.version + 1)
    said: list[AnyEvent] = [*first]
    if status != payment.status:
        step = Step(payment.checkout_id, None, payment.status, status, "", cause.now, cause.event_id)
        changes = [*changes, step]
    if status != payment.status or shown:
        said.append(status_changed(after, orders))
    if ends:
        said.append(PaymentCompleted(checkout_id=payment.checkout_id, owner=payment.owner, status=status))
    return Decision([*changes, after], said, revision=after.version)


def status_changed(payment: Payment, orders: Sequence[Order]) -> PaymentStatusChanged:
    return PaymentStatusChanged(
        checkout_id=payment.checkout_id,
        owner=payment.owner,
        status=payment.status,
        payment_orders=tuple(order.state() for order in orders),
    )


def step_of_order(before: Order, after: Order, detail: str, cause: Cause) -> Step:
    return Step(
        after.checkout_id, after.payment_order_id, before.status, after.status, detail, cause.now, cause.event_id
    )


def payment_of(state: Payments, checkout_id: str | None) -> Payment:
    payment = state.payments.get(checkout_id or "")
    if payment is None:
        raise Permanent("unknown_payment", f"no payment {checkout_id}")
    return payment


def order_of(state: Payments, payment: Payment, payment_order_id: str | None) -> Order:
    order = state.orders.get(payment_order_id or "")
    if order is None or order.checkout_id != payment.checkout_id:
        raise Permanent("unknown_order", f"no order {payment_order_id} in payment {payment.checkout_id}")
    return order
