"""A room on a real database, without Kafka: it hears events by hand, and we read what it said and what its views show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from schemas.envelope import TYPE_PREFIX, Envelope, EventId, derive_id, event_type, header, record_headers
from schemas.events import AnyEvent
from topics.catalog import TOPICS
from topics.runtime.delivery.apply import apply
from topics.runtime.outbox.outbox import Row, records_of
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

Said = TypeVar("Said", bound=AnyEvent)
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TOPIC_OF = {kind: topic.name for topic in TOPICS for kind in topic.says}
KIND_OF = {kind.__name__: kind for kind in TOPIC_OF}


@dataclass
class Hearing:
    """One process of a room. Each event comes under an id of its own unless told otherwise."""

    settings: Settings
    consumer: AnyConsumer
    name: str = "a"  # two of them in one test must not invent the same ids
    source: str = "/test"
    said: list[AnyEvent] = field(default_factory=list)
    dead: int = 0
    ids: list[EventId] = field(default_factory=list)  # of what it has heard
    _count: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.settings, self.consumer.name)

    def hears(
        self,
        *heard: AnyEvent,
        after: timedelta = timedelta(0),
        topic: str | None = None,
        said_at: datetime | None = None,
    ) -> list[AnyEvent]:
        """One batch, published at `said_at` or just now. → what the room said to it."""
        now = NOW + after
        messages = [self._message(event, topic or TOPIC_OF[type(event)], said_at or now) for event in heard]
        said: list[AnyEvent] = []
        for applied in apply(self.store, self.consumer, messages, None, now):
            said += _read(applied.rows)
            self.dead += applied.dead
            self._published([row.id for row in applied.rows])
        self.said += said
        return said

    def unpublished(self, kind: type[AnyEvent], key: str) -> int:
        """How many of these wait in the outbox, as after a process that died before it published them."""
        with self.store.transaction() as conn:
            waiting = conn.execute("SELECT unnest(records) FROM outbox").fetchall()
        return sum(event_type(kind).encode() in record and key.encode() in record for (record,) in waiting)

    def all_said(self, kind: type[Said]) -> list[Said]:
        return [event for event in self.said if isinstance(event, kind)]

    def _published(self, ids: list[int]) -> None:
        """As after Kafka's acknowledgement; what is left in the outbox would be said again with the next of its key."""
        with self.store.transaction() as conn:
            conn.execute("DELETE FROM outbox WHERE id = ANY(%s)", [ids])

    def _message(self, event: AnyEvent, topic: str, now: datetime) -> Message:
        self._count += 1
        now_ms = int(now.timestamp() * 1000)
        event_id = derive_id(f"{self.name} {self._count}", "test", 0, now_ms)
        self.ids.append(event_id)
        headers = record_headers(Envelope(event_id, self.source, event_type(type(event)), now))
        return Message(
            topic, 0, self._count, event.key.encode(), event.model_dump_json().encode(), tuple(headers), now_ms
        )

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """As the room's reader sees it: its views."""
        role = f"tally_{self.consumer.name}_read"
        options = f"-c search_path={self.consumer.name}"
        with psycopg.connect(self.settings.dsn(role), options=options, row_factory=dict_row) as conn:
            return conn.execute(sql, values).fetchall()

    def close(self) -> None:
        self.store.close()


def _read(rows: Sequence[Row]) -> Iterator[AnyEvent]:
    for record in records_of(rows):
        name = (header(record.headers, "ce_type") or "").removeprefix(TYPE_PREFIX).partition(".")[0]
        if record.topic.endswith(".dlq.v1"):
            continue
        yield KIND_OF[name].model_validate_json(record.value or b"")
