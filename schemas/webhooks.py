"""The event types that owners can subscribe to, and the ids of deliveries."""

from __future__ import annotations

from schemas import money_back, payouts
from schemas.envelope import EventId, derive_id, time_ms_of
from schemas.events import Event, every

_DECLARED_IN = (Event, money_back, payouts)  # imported, so that `every` finds their events
EVENT_TYPES = tuple(sorted(kind.webhook_type for kind in every(Event) if kind.webhook_type))
EVERYTHING = "*"  # stands for all types, future ones included
TEST_TYPE = "webhook.test"


def delivery_id(event_id: str, endpoint_id: str) -> EventId:
    """The id of an event's delivery to one endpoint."""
    return derive_id(event_id, f"webhooks {endpoint_id}", 0, time_ms_of(event_id))
