"""Compacted topics: dirty keys → the row as it is now. One process of a room at a time, under a lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import orjson

from schemas.envelope import Envelope, as_version_8, digest, event_type, record_headers
from topics.catalog import Topic
from topics.runtime.outbox.outbox import Publisher, take_lease
from topics.runtime.shape.consumer import AnyConsumer, Connection, Latest
from topics.runtime.shape.store import text_array

LEASE_S = 10
KEYS_MAX = 1000
EVERY_S = 0.5  # a busy balance is said twice a second, however often it moves
# Of its time that a room may say balances for: with thousands that move all the time, each is said every few seconds.
SHARE = 0.02
_BEGINNING = ("", "")
NEXT = "SELECT topic, key FROM latest_outbox WHERE (topic, key) > (%s, %s) ORDER BY topic, key LIMIT %s"
# No join: marks come and go, and the planner, taking the table for empty, would read all of it for each key.
DELETE = (
    "DELETE FROM latest_outbox WHERE topic = %s AND key = ANY(%s::text[]) AND version <= (%s::jsonb ->> key)::bigint"
)

Versions = dict[tuple[str, str], int]


class LatestPublisher:
    """Says dirty keys, waits for the acknowledgements, deletes up to the versions said, looks again, says what is newer."""

    def __init__(self, consumer: AnyConsumer, publisher: Publisher, count: Callable[[int], object]) -> None:
        """`count` is told how many records were handed to the broker."""
        self._consumer = consumer
        self._publisher = publisher
        self._count = count
        self._topics = {topic.name: topic for topic in consumer.compacted}
        self._published: Versions = {}  # until it is found to be the newest
        self._published_at: float | None = None  # until it is acknowledged, and its marks are deleted
        self._generation = publisher.generation
        self._next_at = 0.0
        self._scanned_to = _BEGINNING

    def tick(self, conn: Connection, now: datetime) -> bool:
        """One step that never waits for the broker. → whether something is still to be said, or looked at again."""
        self._publisher.poll()
        if self._generation != self._publisher.generation:  # a new producer owes us nothing
            self._generation = self._publisher.generation
            self._published = dict.fromkeys(self._published, -1)  # what of it is on the topic, and where, nobody knows
            self._published_at = None
        if self._published_at is not None:
            if self._publisher.empty_at > self._published_at:
                self._delete(conn)
            return True
        began_at = time.monotonic()
        if began_at >= self._next_at:
            self._publish(conn, now)
            took_s = time.monotonic() - began_at
            self._next_at = began_at + max(EVERY_S, min(took_s / SHARE, LEASE_S / 2))
        return bool(self._published)

    def finish(self, conn: Connection, now: datetime) -> None:
        """A clean end, after a flush: what landed is looked at again now. Nobody will later."""
        landed = self._published_at is None or self._publisher.empty_at > self._published_at
        if self._published and landed and self._generation == self._publisher.generation:
            self._delete(conn)
            self._publish(conn, now)

    def _publish(self, conn: Connection, now: datetime) -> None:
        """What is dirty, for who holds the lease; while nothing is, nobody takes it, which is a write. And, lease or not,
        what is newer than what we said last: it may have landed after another's newer word, said while our lease had run
        out, or by one whose own had."""
        keys = set(self._published)
        dirty = conn.execute("SELECT FROM latest_outbox LIMIT 1").fetchone() is not None
        if dirty and take_lease(conn, "latest", self._publisher.holder, LEASE_S):
            keys |= self._next_dirty(conn)
        newer = [
            (topic, latest)
            for name, topic in self._topics.items()
            if (mine := sorted(key for topic_name, key in keys if topic_name == name))
            for latest in self._consumer.compacted[topic](conn, mine)
            if latest.version > self._published.get((name, latest.key), -1)
        ]
        self._published = {(topic.name, latest.key): latest.version for topic, latest in newer}
        for topic, latest in newer:
            self._produce(topic, latest, now)
        self._count(len(newer))
        self._published_at = time.monotonic() if newer else None
        conn.commit()

    def _next_dirty(self, conn: Connection) -> set[tuple[str, str]]:
        """From where the last look ended, round and round: the first of more than are said at once are soon dirty again."""
        found = conn.execute(NEXT, [*self._scanned_to, KEYS_MAX]).fetchall()
        self._scanned_to = found[-1] if len(found) == KEYS_MAX else _BEGINNING
        return set(found)

    def _delete(self, conn: Connection) -> None:
        for name in self._topics:
            said = {key: version for (topic_name, key), version in self._published.items() if topic_name == name}
            conn.execute(DELETE, [name, text_array(sorted(said)), orjson.dumps(said).decode()])
        conn.commit()
        self._published_at = None

    def _produce(self, topic: Topic, latest: Latest, now: datetime) -> None:
        """The event's id comes from topic, key and version: the same words always have the same id."""
        envelope = Envelope(
            as_version_8(digest(topic.name.encode(), latest.key.encode(), b"%d" % latest.version)),
            f"/tallystick/{self._consumer.name}",
            event_type(type(latest.event)),
            now,
            latest.version,
        )
        value = latest.event.__pydantic_serializer__.to_json(latest.event, exclude_none=True)
        self._publisher.produce(topic.name, latest.key.encode(), record_headers(envelope), value)
