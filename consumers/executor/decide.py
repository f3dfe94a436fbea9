"""(attempts and calls, an event) → what the executor does about it. Pure."""

from __future__ import annotations

from typing import assert_never

from consumers.executor.attempt import CallFacts, call_key
from consumers.executor.charging import Policy, be_told, hear, place
from schemas.events import CallEnded, NotificationReceived, OrderPlaced
from topics.runtime.shape.consumer import Cause, Decision, State


def decide(
    policy: Policy, state: State, event: OrderPlaced | CallEnded | NotificationReceived, cause: Cause
) -> Decision:
    """Errors: Permanent `order_changed`, `no_such_call`, `bad_reply`, `notification_mismatch`, `contradiction`."""
    match event:
        case OrderPlaced():
            return place(policy, state.get(event.payment_order_id), event, cause)
        case CallEnded():
            return _in_trace(hear(policy, state, event, cause), state, event.call_id)
        case NotificationReceived():
            return _in_trace(be_told(policy, state, event, cause), state, event.reference)
        case _:
            assert_never(event)


def _in_trace(decision: Decision, state: State, call_id: str) -> Decision:
    """What follows from a call's end belongs to the order's trace, whoever told of it."""
    call: CallFacts | None = state.get(call_key(call_id))
    return decision if call is None else decision._replace(traceparent=call.traceparent)
