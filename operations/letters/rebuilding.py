"""A room's dead-letter topic → its index."""

from __future__ import annotations

from typing import cast

from confluent_kafka import Message as KafkaMessage

from operations.auditor.records import reader
from topics.runtime.clock import Clock
from topics.runtime.consumer import Message
from topics.runtime.dead_letters import rooms_named
from topics.runtime.letter_index import Rebuilt, rebuild
from topics.runtime.operators import By
from topics.settings import Settings


def rebuild_from_topic(settings: Settings, room_name: str, by: By) -> Rebuilt:
    """Errors: NoSuchRoom; KafkaException where the broker is away."""
    (room,) = rooms_named(room_name)
    with reader(settings) as reading:
        ends = reading.ends(room.dead_letters)
        records = [_message(record, reading.name_of(record)) for record in reading.records(ends)]
    return rebuild(settings, room, records, by, Clock(settings.clock_file).now())


def _message(record: KafkaMessage, name: str) -> Message:
    headers = tuple(cast(list[tuple[str, bytes]], record.headers() or ()))
    stamp = record.timestamp()[1]
    return Message(name, record.partition() or 0, record.offset() or 0, record.key(), record.value(), headers, stamp)
