"""(attempts and calls, an event) → what the executor does about it. Pure."""

from __future__ import annotations

from typing import assert_never

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
            return hear(policy, state, event, cause)
        case NotificationReceived():
            return be_told(policy, state, event, cause)
        case _:
            assert_never(event)
