"""The `source` of events that HTTP doors publish, and the id under which rooms claim such an event."""

from __future__ import annotations

from topics.catalog import PAYMENT_REQUESTS, Topic
from topics.runtime.shape.decode import door_claim

SOURCE = "/tallystick/doors"


def claim_of(event_id: str, topic: Topic = PAYMENT_REQUESTS) -> str:
    """The id under which the room has claimed the accepted request with this event id."""
    return door_claim(topic.name, SOURCE, event_id)
