"""(a payment, an event about a dispute of one of its orders) → the changes of dispute and order. Pure."""

from __future__ import annotations

from typing import assert_never

from consumers.payments.advancing import NOTHING, order_of, payment_of
from consumers.payments.operating import Booking, by_sums, operation_moved
from consumers.payments.operation import Dispute, OperationStep, step_of
from consumers.payments.payment import Order, Payment, Payments, Stored
from consumers.payments.revenue_line import revenue_line
from schemas.errors import Permanent
from schemas.events import AnyEvent
from schemas.journals import JournalPosted
from schemas.money_back import (
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    DisputeStatus,
    DisputeStatusChanged,
)
from topics.runtime.shape.consumer import Cause, Decision

Disputed = DisputeInquiry | ChargebackOpened | ChargebackWon | ChargebackLost

_RANK: dict[DisputeStatus | None, int] = {None: 0, "inquiry": 1, "opened": 2, "lost": 3, "won": 4}


def dispute(state: Payments, event: Disputed, cause: Cause) -> Decision:
    """Move the dispute's stage: inquiry, opened, lost or won; a lost one may still be won. Any other event is a repeat."""
    payment = payment_of(state, event.checkout_id)
    order = order_of(state, payment, event.payment_order_id)
    before = _of(state, payment, order, event.dispute_id, event.stage, event.gross.currency, cause)
    after = _after(before, event)
    status = after.status
    if status is None or _RANK[status] <= _RANK[before.status]:
        return NOTHING
    after = after._replace(reason=event.reason, due_by=event.due_by, changed_at=cause.now, version=before.version + 1)
    step = OperationStep(
        after.checkout_id,
        after.payment_order_id,
        "dispute",
        after.dispute_id,
        before.status,
        status,
        f"stage {after.stage}",
        cause.now,
        cause.event_id,
    )
    changes: list[Stored] = [after, step]
    if isinstance(event, ChargebackOpened | ChargebackWon):
        changes.append(revenue_line(event, cause))
    parts = state.parts_of(order.payment_order_id, after)
    moved = by_sums(order, parts, event.gross)
    return operation_moved(state, payment, order, moved, changes, cause, parts=parts, said=[_status_changed(after)])


def _after(before: Dispute, event: Disputed) -> Dispute:
    match event:
        case DisputeInquiry():
            return before._replace(status="inquiry", amount=event.amount.minor)
        case ChargebackOpened():
            opened = before._replace(status="opened", step=1, amount=event.share.gross.minor)
            asked = event.dispute_fee
            return opened._replace(fee=asked.minor, fee_currency=asked.currency) if asked else opened
        case ChargebackWon():
            won, back = before._replace(status="won", step=step_of(1, taken_back=True)), event.dispute_fee
            if won.fee is None or back is None or back.currency != won.fee_currency:
                return won
            return won._replace(fee=won.fee - back.minor)
        case ChargebackLost():
            return before._replace(status="lost")
        case _:
            assert_never(event)


def book(
    state: Payments, event: Booking, dispute_id: str, stage: int, step: int, payment: Payment, cause: Cause
) -> Decision:
    """Note a booking by wallet or ledger, which may be consumed before the executor's event."""
    order = order_of(state, payment, event.payment_order_id)
    before = _of(state, payment, order, dispute_id, stage, event.money()[0].currency, cause)
    if isinstance(event, JournalPosted):
        after = before._replace(ledger_step=max(before.ledger_step, step))
    else:
        after = before._replace(wallet_step=max(before.wallet_step, step))
    if after == before:
        return NOTHING
    changes: list[Stored] = [after._replace(version=before.version + 1)]
    return Decision(changes, revision=payment.version)


def _of(
    state: Payments, payment: Payment, order: Order, dispute_id: str, stage: int, currency: str, cause: Cause
) -> Dispute:
    """The stored dispute, or a new one."""
    known = state.disputes.get((dispute_id, stage))
    if known is None:
        return Dispute(
            dispute_id,
            stage,
            order.checkout_id,
            order.payment_order_id,
            payment.owner,
            currency,
            0,
            cause.now,
            cause.now,
            version=0,
        )
    if known.payment_order_id != order.payment_order_id:
        raise Permanent("contradiction", f"dispute {dispute_id} is about order {known.payment_order_id}")
    return known


def _status_changed(dispute: Dispute) -> AnyEvent:
    assert dispute.status is not None
    return DisputeStatusChanged(
        checkout_id=dispute.checkout_id,
        owner=dispute.owner,
        payment_order_id=dispute.payment_order_id,
        dispute_id=dispute.dispute_id,
        stage=dispute.stage,
        status=dispute.status,
        amount=dispute.money,
        reason=dispute.reason,
        due_by=dispute.due_by,
    )
