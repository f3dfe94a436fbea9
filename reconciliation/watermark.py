"""The ends of the topics that facts come from, and our positions → until when all that was published is heard.

Without it a room that lags behind would report its own lag as lines that nobody knows.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import NamedTuple

import psycopg
import structlog
from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from topics import catalog
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.kafka import kafka_config, offsets, partitions
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

log = structlog.get_logger()

EVERY_S = 5.0
LIMIT_S = 5.0
_FACTS = (catalog.EXECUTIONS, catalog.PAYOUT_EXECUTIONS)

Partition = tuple[str, int]


class _Seen(NamedTuple):
    """The ends of all partitions at a moment of business time."""

    at: datetime
    ends: dict[Partition, int]


def run_watermark(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Look every few seconds until `stop` is set. Raises only on a bug."""
    watermark = Watermark(settings, consumer.name)
    try:
        while not stop.wait(EVERY_S):
            watermark.guarded_look()
    finally:
        watermark.close()


class Watermark:
    """Ends are asked for first, and reached later: what was published before is heard then."""

    def __init__(self, settings: Settings, room: str) -> None:
        self._prefix = settings.topic_prefix
        self._admin = AdminClient(kafka_config(settings))
        self._store = Store(settings, room)
        self._clock = Clock(settings.clock_file)
        self._seen: _Seen | None = None

    def guarded_look(self) -> None:
        try:
            self.look()
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="watermark", error=str(error).strip()[:200])
        except KafkaException as error:
            log.warning("kafka away", action="watermark", error=str(error))

    def look(self) -> None:
        """Errors: psycopg.Error, KafkaException."""
        if self._seen is None:
            self._seen = _Seen(self._clock.now(), self._ends())
        with self._store.transaction() as conn:
            rows = conn.execute("SELECT topic, partition, next_offset FROM positions")
            positions = {(topic, partition): offset for topic, partition, offset in rows}
            if all(positions.get(where, 0) >= end for where, end in self._seen.ends.items()):
                conn.execute(_HEARD, [self._seen.at])
                self._seen = None

    def _ends(self) -> dict[Partition, int]:
        wanted = partitions(self._admin, [self._prefix + topic.name for topic in _FACTS])
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        found = offsets(self._admin, wanted, latest, IsolationLevel.READ_COMMITTED, LIMIT_S)
        return {(at.topic[len(self._prefix) :], at.partition): end for at, end in found.items()}

    def close(self) -> None:
        self._store.close()


_HEARD = """
INSERT INTO heard AS h (one, until) VALUES (true, %s) ON CONFLICT (one) DO UPDATE SET until = greatest(h.until, excluded.until)
"""
