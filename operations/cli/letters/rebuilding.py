"""A room's dead-letter topic → its index."""

from __future__ import annotations

from operations.auditor.engine.records import reader
from topics.runtime.dead_letters.acts import AuditNote
from topics.runtime.dead_letters.index import RebuildCounts, rebuild
from topics.runtime.dead_letters.listing import rooms_named
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.record import message_of
from topics.settings import Settings


def rebuild_from_topic(settings: Settings, room_name: str, by: AuditNote) -> RebuildCounts:
    """Errors: NoSuchRoom; KafkaException where the broker is away."""
    (room,) = rooms_named(room_name)
    with reader(settings) as reading:
        ends = reading.ends(room.dead_letters)
        records = [message_of(record, settings.topic_prefix) for record in reading.records(ends)]
    return rebuild(settings, room, records, by, Clock(settings.clock_file).now())
