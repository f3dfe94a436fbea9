"""An event that a door publishes → its outbox record."""

from __future__ import annotations

from datetime import datetime

from producers.source import SOURCE
from schemas.envelope import Envelope, EventId, child_trace, event_type, record_headers
from schemas.events import AnyEvent
from topics.catalog import DOORS
from topics.runtime.outbox.outbox import OutboxRecord

_TOPIC = {kind: topic.name for topic in DOORS.writes for kind in topic.says}


def record_of(
    event: AnyEvent,
    event_id: EventId,
    now: datetime,
    *,
    revision: int = 0,
    traceparent: str | None = None,
    exclude_none: bool = True,
) -> OutboxRecord:
    """The record on the topic of the event's type. Its trace continues `traceparent`; without one it begins there."""
    trace = child_trace(traceparent, event_id, event_id)
    envelope = Envelope(event_id, SOURCE, event_type(type(event)), now, revision, trace)
    value = event.model_dump_json(exclude_none=exclude_none).encode()
    return OutboxRecord(_TOPIC[type(event)], event.key.encode(), list(record_headers(envelope)), value)
