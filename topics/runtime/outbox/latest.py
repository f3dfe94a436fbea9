"""Compacted topics: dirty keys → their current rows, published. One process of a room at a time, under a lease."""

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
EVERY_S = 0.5  # a balance is published at most twice a second, however often it changes
# Share of its time that a room publishes balances: with thousands that change all the time, each comes every few seconds.
SHARE = 0.02
_BEGINNING = ("", "")
NEXT = "SELECT topic, key FROM latest_outbox WHERE (topic, key) > (%s, %s) ORDER BY topic, key LIMIT %s"
# No join: the planner expects the table to be empty, and would scan it for each key.
DELETE = (
    "DELETE FROM latest_outbox WHERE topic = %s AND key = ANY(%s::text[]) AND version <= (%s::jsonb ->> key)::bigint"
)

Versions = dict[tuple[str, str], int]


class LatestPublisher:
    """Publishes dirty keys, waits for acknowledgements, deletes the marks up to the published versions, and starts again."""

    def __init__(self, consumer: AnyConsumer, publisher: Publisher, count: Callable[[int], object]) -> None:
        """`count` is called with the number of published records."""
        self._consumer = consumer
        self._publisher = publisher
        self._count = count
        self._topics = {topic.name: topic for topic in consumer.compacted}
        self._published: Versions = {}  # until no newer version is found
        self._published_at: float | None = None  # until acknowledged, and the marks deleted
        self._generation = publisher.generation
        self._next_at = 0.0
        self._scanned_to = _BEGINNING

    def tick(self, conn: Connection, now: datetime) -> bool:
        """One step that never waits for the broker. → whether there is more to publish or to check."""
        self._publisher.poll()
        if self._generation != self._publisher.generation:  # a new producer knows nothing of what the old one sent
            self._generation = self._publisher.generation
            self._published = dict.fromkeys(
                self._published, -1
            )  # unknown what of it has reached the topic: publish again
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
        """At a clean end, after a flush: check the published keys once more, since no later step will."""
        landed = self._published_at is None or self._publisher.empty_at > self._published_at
        if self._published and landed and self._generation == self._publisher.generation:
            self._delete(conn)
            self._publish(conn, now)

    def _publish(self, conn: Connection, now: datetime) -> None:
        """Publish dirty keys if we hold the lease (taken only when a key is dirty: taking it is a write). Lease or not,
        publish any key again that is newer than what we last published: our older record may have landed after another
        process's newer one, if a lease expired."""
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
        """The next KEYS_MAX dirty keys after the last ones, in turn: else the first keys, soon dirty again, starve the others."""
        found = conn.execute(NEXT, [*self._scanned_to, KEYS_MAX]).fetchall()
        self._scanned_to = found[-1] if len(found) == KEYS_MAX else _BEGINNING
        return set(found)

    def _delete(self, conn: Connection) -> None:
        for name in self._topics:
            versions = {key: version for (topic_name, key), version in self._published.items() if topic_name == name}
            conn.execute(DELETE, [name, text_array(sorted(versions)), orjson.dumps(versions).decode()])
        conn.commit()
        self._published_at = None

    def _produce(self, topic: Topic, latest: Latest, now: datetime) -> None:
        """The event's id is derived from topic, key and version: the same contents have the same id."""
        envelope = Envelope(
            as_version_8(digest(topic.name.encode(), latest.key.encode(), b"%d" % latest.version)),
            f"/tallystick/{self._consumer.name}",
            event_type(type(latest.event)),
            now,
            latest.version,
        )
        value = latest.event.__pydantic_serializer__.to_json(latest.event, exclude_none=True)
        self._publisher.produce(topic.name, latest.key.encode(), record_headers(envelope), value)
