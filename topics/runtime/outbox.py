"""Committed rows → Kafka. Per topic and key, first appearances are in commit order, whoever dies in between."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import orjson
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from topics.runtime.admin import kafka_config
from topics.runtime.consumer import Connection
from topics.runtime.store import Store, bytes_array, int_array, text_array
from topics.settings import Settings

log = structlog.get_logger()

BLOCK = 10_000  # ids that one batch may use; a batch says less
SWEEP_AFTER_S = 5
HEAL_EVERY_S = 1

HeaderPairs = list[tuple[str, bytes]]
_Headers = list[tuple[str, str | bytes | None]]  # the same to mypy's eyes, as confluent-kafka spells it
Delivered = Callable[[KafkaError | None, KafkaMessage], None]


class Unsaid(NamedTuple):
    """What is to be said, before it has an id."""

    topic: str
    key: bytes | None
    headers: HeaderPairs
    value: bytes | None


class Row(NamedTuple):
    """A row of the outbox: the exact bytes, so that a repeat has the same hash."""

    id: int
    topic: str
    key: bytes | None
    headers: HeaderPairs
    value: bytes | None


def dump_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """JSON pairs; any byte has its place in latin-1."""
    return orjson.dumps([(name, None if value is None else value.decode("latin-1")) for name, value in headers])


def load_headers(raw: bytes) -> HeaderPairs:
    """A foreign record may have headers without a value; they stay so."""
    return [(name, None if value is None else value.encode("latin-1")) for name, value in orjson.loads(raw)]  # type: ignore[misc]


# The planner takes the outbox for empty, as it is between busy moments, and would as soon read all of it for each row that is
# asked for: 1,300 × 1,000 rows, 360 ms a batch. So each statement here leaves one way only: by key, row after row (OFFSET 0 is
# what keeps a LATERAL from being turned into a join), or by an array of ids.

# One statement: it sees the table as it was before its own insert, so what it finds for the same keys is older.
INSERT = """
WITH block AS MATERIALIZED (SELECT nextval('outbox_block') * %s AS first),
unsaid AS MATERIALIZED (
    SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::bytea[])
    WITH ORDINALITY AS u (topic, key, headers, value, place)
),
inserted AS (
    INSERT INTO outbox (id, topic, key, headers, value)
    SELECT block.first + place - 1, topic, key, headers, value FROM block, unsaid
)
SELECT block.first, o.id, o.topic, o.key, o.headers, o.value
FROM block LEFT JOIN (SELECT DISTINCT topic, key FROM unsaid) AS k CROSS JOIN LATERAL (
    SELECT * FROM outbox WHERE outbox.topic = k.topic AND outbox.key = k.key OFFSET 0
) AS o ON true
ORDER BY o.id
"""

# Losing this commit is harmless, so nobody waits for the disk; locked rows are being deleted by another.
DELETE = """
WITH nobody_waits AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
gone AS MATERIALIZED (SELECT id FROM outbox WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED)
DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM gone)) AND EXISTS (SELECT FROM nobody_waits)
"""


def insert(conn: Connection, unsaid: Sequence[Unsaid]) -> Callable[[], list[Row]]:
    """Store what is to be said now; read later: its rows, after every older row of the same keys that is still there.

    Called after the entities are locked: ids of one key are then drawn in commit order, and every older row of it
    is committed and seen here.
    """
    if not unsaid:
        return list
    assert len(unsaid) < BLOCK, "one batch says too much"
    asked = conn.execute(
        INSERT,
        [
            BLOCK,
            text_array([u.topic for u in unsaid]),
            bytes_array([u.key for u in unsaid]),
            bytes_array([dump_headers(u.headers) for u in unsaid]),
            bytes_array([u.value for u in unsaid]),
        ],
        binary=True,
    )

    def rows() -> list[Row]:
        found = asked.fetchall()
        first = found[0][0]
        return older_rows(found) + [
            Row(first + place, u.topic, u.key, u.headers, u.value) for place, u in enumerate(unsaid)
        ]

    return rows


def older_rows(found: Iterable[tuple[Any, ...]]) -> list[Row]:
    """Rows of the same topics and keys that came earlier and are still there."""
    return _rows([row[1:] for row in found if row[1] is not None])


def lowest_rows(conn: Connection, up_to: int, limit: int) -> list[Row]:
    found = conn.execute(
        "SELECT id, topic, key, headers, value FROM outbox WHERE id <= %s ORDER BY id LIMIT %s",
        [up_to, limit],
        binary=True,
    )
    return _rows(found.fetchall())


def _rows(found: Iterable[tuple[int, str, bytes | None, bytes, bytes | None]]) -> list[Row]:
    return [Row(id_, topic, key, load_headers(headers), value) for id_, topic, key, headers, value in found]


class Publisher:
    """One producer and what it still owes. Used by one thread; callbacks run inside its own poll."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"  # of leases
        self._producer = self._connect()
        self._in_queue: set[int] = set()  # produced, not yet acknowledged or not yet deleted
        self._acknowledged: list[int] = []
        self._failed: KafkaError | None = None
        self.generation = 0  # callbacks of a thrown-away producer are not listened to
        self._swept_at = time.monotonic()
        self._healed_at = 0.0
        self._answered_at = time.monotonic()

    def _connect(self) -> Producer:
        return Producer(
            {
                **kafka_config(self._settings),
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # what the broker refuses lets nothing of its partition past
                # A broker that has just started knows no producer and takes any sequence as the first. With two requests on
                # their way it may refuse one, not being leader yet, and take the next: which librdkafka takes for both (seen).
                "max.in.flight": 1,
                "error_cb": self._errored,
                "acks": "all",
                "linger.ms": 0.2,  # what a small batch says goes together; more only waits
                "message.timeout.ms": 0,  # no time-out that could leave a gap: it waits until the broker is back
                "queue.buffering.max.messages": 100_000,
                "partitioner": "murmur2_random",  # as Java's: foreign writers of the same key land on the same partition
                "message.max.bytes": 2_000_000,
                "topic.metadata.refresh.interval.ms": 60_000,
            }
        )

    @property
    def unacknowledged(self) -> int:
        return len(self._in_queue) - len(self._acknowledged)

    @property
    def _stuck(self) -> bool:
        """Our own deliveries make no progress: then the rows of others would only queue up behind them."""
        return self.unacknowledged > 0 and time.monotonic() - self._answered_at > 1

    @property
    def failing(self) -> str | None:
        return str(self._failed) if self._failed else None

    def publish(self, rows: Iterable[Row]) -> None:
        """Hand rows to the producer, in order, leaving out what is in its queue already."""
        if self._failed is not None:
            return  # what is not said now is said by `heal`, from the lowest row on
        for row in rows:
            if row.id not in self._in_queue and not self._produce(row):
                break
        self.poll()

    def _produce(self, row: Row) -> bool:
        delivered = partial(self._delivered, self.generation, row.id)
        taken = self.produce(row.topic, row.key, row.headers, row.value, delivered)
        if taken:
            self._in_queue.add(row.id)
        return taken

    def produce(
        self, topic: str, key: bytes | None, headers: HeaderPairs, value: bytes | None, delivered: Delivered
    ) -> bool:
        """Into the producer's queue; waits where that is full. → False where the producer takes nothing any more."""
        while True:
            try:
                self._producer.produce(
                    self._prefix + topic, value, key, headers=cast(_Headers, headers), on_delivery=delivered
                )
                return True
            except BufferError:
                self.poll(0.1)
            except KafkaException as error:
                self._fail(error.args[0])
                return False

    def _delivered(self, generation: int, row_id: int, error: KafkaError | None, _: KafkaMessage) -> None:
        if generation != self.generation:
            return
        self._answered_at = time.monotonic()
        if error is None:
            self._acknowledged.append(row_id)
        else:
            self._fail(error)

    def _errored(self, error: KafkaError) -> None:
        """All else than fatal errors goes by."""
        if error.fatal():
            self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        if self._failed is None:
            self._failed = error
            log.warning("delivery failed", action="publish", error=str(error))

    def poll(self, timeout_s: float = 0) -> None:
        """Hear what became of our records. A producer with a fatal error raises for ever: it is replaced by `tidy`."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            self._fail(error.args[0])

    def tidy(self, store: Store) -> None:
        """Delete what is acknowledged; start again at the lowest row after an error; sweep what the dead left."""
        self.poll()
        self._delete(store)
        if self._failed is not None:
            if time.monotonic() - self._healed_at >= HEAL_EVERY_S:
                self._heal(store)
        elif time.monotonic() - self._swept_at >= SWEEP_AFTER_S and not self._stuck:
            self._swept_at = time.monotonic()
            self._sweep(store)

    def _delete(self, store: Store) -> None:
        done = self._acknowledged[:BLOCK]
        if not done:
            return
        with store.batch() as conn:
            conn.execute(DELETE, [int_array(done)])
        self._in_queue.difference_update(done)
        del self._acknowledged[: len(done)]

    def _heal(self, store: Store) -> None:
        """A new producer, an empty queue, and everything still there again, lowest first."""
        self._healed_at = time.monotonic()
        self.generation += 1
        self._producer.purge()
        self._producer = self._connect()
        self._in_queue.clear()
        self._acknowledged.clear()
        self._failed = None
        with store.transaction() as conn:
            self.publish(lowest_rows(conn, 2**62, BLOCK))

    def _sweep(self, store: Store) -> None:
        """Rows that lie here for longer than SWEEP_AFTER_S: of doors, callers and the dead. One process at a time."""
        with store.transaction() as conn:
            if take_lease(conn, "sweep", self.holder, SWEEP_AFTER_S * 3):
                # Ids are not drawn in the order of created_at: everything below the newest old row goes along.
                newest = conn.execute(
                    "SELECT max(id) FROM outbox WHERE created_at < clock_timestamp() - make_interval(secs => %s)",
                    [SWEEP_AFTER_S],
                ).fetchone()
                if newest and newest[0] is not None:
                    self.publish(lowest_rows(conn, newest[0], BLOCK))

    def flush(self, timeout_s: float) -> None:
        try:
            self._producer.flush(timeout_s)
        except KafkaException as error:
            self._fail(error.args[0])


def take_lease(conn: Connection, name: str, holder: str, for_s: float) -> bool:
    """Take or renew a lease of the room; the database's clock decides when it has run out."""
    taken = conn.execute(
        "INSERT INTO leases (name, holder, until) VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
        " WHERE leases.holder = excluded.holder OR leases.until < clock_timestamp() RETURNING 1",
        [name, holder, for_s],
    ).fetchone()
    return taken is not None
