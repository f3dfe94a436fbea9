"""A break that names an event of ours whose effect is missing → the same record once more, byte for byte, once per break.

The room keeps none of the records that it has published: Kafka does, for as long as its topics keep them. So the record is
read where reconciliation has heard it, and goes out again only if it is that very event of this room.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

import psycopg
import structlog
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.breaks import Break, BreakResolved, RecordPlace
from schemas.envelope import header
from topics.catalog import EXECUTOR_ROOM
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer, Connection
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.record import headers_of
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

log = structlog.get_logger()

LOOK_S = 1.0
AWAY_S = 5.0
LIMIT_S = 10.0  # without an answer of Kafka
SOURCE = f"/tallystick/{EXECUTOR_ROOM.name}"
_OURS = {topic.name for topic in EXECUTOR_ROOM.writes}


class Repeat(NamedTuple):
    """A record that is to be published again, or is not any more."""

    break_id: str
    record: RecordPlace
    is_wanted: bool
    at: datetime


def decide(event: Break, now: datetime) -> tuple[Repeat, ...]:
    """Breaks of other kinds, and of other rooms' events, name no record of ours."""
    record = event.record
    if record is None or record.topic not in _OURS:
        return ()
    return (Repeat(event.break_id, record, not isinstance(event, BreakResolved), now),)


# Once per break, whatever is said of it later and in whatever order; what is resolved meanwhile needs it no more.
_KEEP: LiteralString = """
INSERT INTO repeats AS r (break_id, event_id, topic, partition, record_offset, state, asked_at, changed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (break_id) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at
WHERE r.state = 'wanted' AND excluded.state = 'not_needed'
"""


def keep(conn: Connection, repeats: Sequence[Repeat]) -> None:
    for each in sorted(repeats, key=lambda each: each.break_id):
        place = (each.record.event_id, each.record.topic, each.record.partition, each.record.offset)
        state = "wanted" if each.is_wanted else "not_needed"
        conn.execute(_KEEP, [each.break_id, *place, state, each.at, each.at])


_NEXT: LiteralString = """
SELECT replace(break_id::text, '-', ''), event_id::text, topic, partition, record_offset FROM repeats
WHERE state = 'wanted' ORDER BY asked_at, break_id LIMIT 1
"""
_DONE: LiteralString = "UPDATE repeats SET state = %s, changed_at = %s WHERE break_id = %s AND state = 'wanted'"


def run_repeater(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Look every second until `stop` is set. Raises only on a bug."""
    repeater = Repeater(settings, consumer.name)
    try:
        while not stop.is_set():
            stop.wait(LOOK_S if repeater.look_safely() else AWAY_S)
    finally:
        repeater.close()


class Repeater:
    """Reads records by their place. Joins no group, commits no offset."""

    def __init__(self, settings: Settings, room: str) -> None:
        self._settings = settings
        self._store = Store(settings, room)
        self._clock = Clock(settings.clock_file)
        self._client: KafkaConsumer | None = None  # most processes never need one

    def close(self) -> None:
        self._store.close()
        if self._client is not None:
            self._client.close()

    def look_safely(self) -> bool:
        """As `look`. → False while the database or Kafka is away."""
        try:
            while self.look():
                pass
            return True
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="repeat", error=str(error).strip()[:200])
        except KafkaException as error:
            log.warning("kafka away", action="repeat", error=str(error))
        return False

    def look(self) -> bool:
        """Put one record into the outbox again, in the transaction that says so: any process of the room publishes it.
        → whether there was one. Errors: psycopg.Error, KafkaException.
        """
        with self._store.transaction() as conn:
            row = None if is_stopped(conn) else conn.execute(_NEXT).fetchone()
        if row is None:
            return False
        break_id, event_id, topic, partition, offset = row
        record = self._read(topic, partition, offset)
        found = [record] if record is not None and _is_ours(record, event_id) else []
        with self._store.transaction() as conn:
            state = "published" if found else "gone"
            if conn.execute(_DONE, [state, self._clock.now(), break_id]).rowcount:  # else another process has done it
                outbox.insert(conn, found)()
        log.info("event published again", action="repeat", event_id=event_id, break_id=break_id, state=state)
        return True

    def _read(self, topic: str, partition: int, offset: int) -> OutboxRecord | None:
        """None where the topic has it no more. Errors: KafkaException."""
        if self._client is None:
            config = {**kafka_config(self._settings), "group.id": "tally-repeats", "enable.auto.commit": False}
            self._client = KafkaConsumer({**config, "isolation.level": "read_committed", "auto.offset.reset": "error"})
        name = self._settings.topic_prefix + topic
        low, high = self._client.get_watermark_offsets(TopicPartition(name, partition), timeout=LIMIT_S)
        if not low <= offset < high:
            return None
        self._client.assign([TopicPartition(name, partition, offset)])
        try:
            found = self._client.poll(LIMIT_S)
        finally:
            self._client.unassign()
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}[{partition}]@{offset} cannot be read"))
        error = found.error()
        if error is not None:
            raise KafkaException(error)
        if found.offset() != offset:
            return None
        return OutboxRecord(topic, found.key(), list(headers_of(found)), found.value())


def _is_ours(record: OutboxRecord, event_id: str) -> bool:
    return (header(record.headers, "ce_id"), header(record.headers, "ce_source")) == (event_id, SOURCE)
