"""(attempts and calls, an event) → what the executor does about it. Pure."""

from __future__ import annotations

from typing import assert_never

from consumers.executor.charging import Attempts, Policy, be_told, hear, place
from schemas.events import (
    CallEnded,
    NotificationReceived,
    OrderPlaced,
    TimerFired,
)
from schemas.money_back import (
    CapturePlaced,
    DisputeNotified,
    RefundPlaced,
    VoidPlaced,
)
from topics.runtime.shape.consumer import Cause, Decision

Behind = CapturePlaced | VoidPlaced | RefundPlaced | DisputeNotified | TimerFired
Heard = OrderPlaced | CallEnded | NotificationReceived | Behind


def decide(policy: Policy, state: Attempts, event: Heard, cause: Cause) -> Decision:
    """Errors: Permanent `order_changed`, `no_such_call`, `bad_reply`, `notification_mismatch`, `contradiction`."""
    match event:
        case OrderPlaced():
            return place(policy, state.attempts.get(event.payment_order_id), event, cause)
        case CallEnded():
            return _in_trace(hear(policy, state, event, cause), state, event.call_id)
        case NotificationReceived():
            return _in_trace(be_told(policy, state, event, cause), state, event.reference)
        case CapturePlaced() | VoidPlaced() | RefundPlaced() | DisputeNotified() | TimerFired():
            return Decision()
        case _:
            assert_never(event)


def _in_trace(decision: Decision, state: Attempts, call_id: str) -> Decision:
    """What follows from a call's end belongs to the order's trace, whoever told of it."""
    call = state.calls.get(call_id)
    return decision if call is None else decision._replace(traceparent=call.traceparent)
