"""What the HTTP door calls itself in the events that it publishes, and by which id rooms know one of them."""

from __future__ import annotations

from topics.catalog import PAYMENT_REQUESTS
from topics.runtime.shape.decode import door_claim

SOURCE = "/tallystick/doors"


def claim_of(event_id: str) -> str:
    """The id by which payments knows the request that was accepted as this event."""
    return door_claim(PAYMENT_REQUESTS.name, SOURCE, event_id)
