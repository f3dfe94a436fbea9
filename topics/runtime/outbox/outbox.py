"""Committed rows → Kafka. Per topic and key, first appearances are in commit order, whoever dies in between."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, cast
from zlib import crc32

import msgpack
import psycopg
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.record import HeaderPairs
from topics.runtime.shape.store import Store, bytes_array, int_array
from topics.settings import Settings

log = structlog.get_logger()

READ_BYTES_MAX = 16_000_000  # bytes of the lowest rows that are read to be said
SWEEP_AFTER_S = 5
HEAL_EVERY_S = 1
STUCK_S = 1.0  # without any answer
BUSY_S = 1.0  # without finding the queue empty
WAIT_S, WAIT_S_MAX = 0.2, 2.0  # for it to be empty

_Headers = list[tuple[str, str | bytes | None]]  # the same to mypy's eyes, as confluent-kafka spells it


class OutboxRecord(NamedTuple):
    """A record that is to be said: the exact bytes, so that a repeat has the same hash."""

    topic: str
    key: bytes | None
    headers: HeaderPairs
    value: bytes | None


class Row(NamedTuple):
    """What one transaction says, in order. A row for each record, found by its key, cost five times as much."""

    id: int
    records: Sequence[OutboxRecord]
    older: Sequence[int] = ()  # rows that hold earlier records of the same keys, lowest first


def dump_records(records: Iterable[OutboxRecord]) -> list[bytes]:
    pack = msgpack.Packer().pack
    return [pack(record) for record in records]


def load_record(raw: bytes) -> OutboxRecord:
    topic, key, headers, value = msgpack.unpackb(raw, use_list=False)
    return OutboxRecord(topic, key, list(headers), value)


def hashed_key(topic: str, key: bytes | None) -> int | None:
    """Topic and key as a number. Two that share one by chance have a row looked at in vain; without a key, nothing comes
    before anything."""
    return None if key is None else crc32(key, _seed(topic))


@cache
def _seed(topic: str) -> int:
    return crc32(topic.encode())


# One statement: it sees the table as it was before its own insert, so what it finds for the same keys is older. It looks at
# every row that is there: a few of each process, until it has deleted them. Behind a broker that is away they are many, and
# small: with 20,000 of them a batch takes 4 to 18 ms more.
INSERT = """
WITH mine AS MATERIALIZED (SELECT nextval('outbox_id') AS id, %s::bigint[] AS keys),
inserted AS (INSERT INTO outbox (id, keys, records) SELECT id, %s::bigint[], %s::bytea[] FROM mine)
SELECT mine.id, CASE WHEN cardinality(mine.keys) > 0 THEN ARRAY(
    SELECT o.id FROM outbox o WHERE CASE
        WHEN cardinality(o.keys) * cardinality(mine.keys) < 10000 THEN o.keys && mine.keys
        ELSE EXISTS (SELECT unnest(o.keys) INTERSECT SELECT unnest(mine.keys))
    END ORDER BY o.id
) ELSE '{}' END FROM mine
"""

# IS TRUE keeps it a look into a hash of the keys for each record; as a join it would be a loop over all of them.
OLDER = """
SELECT o.id, cardinality(o.keys), r.record
FROM outbox o CROSS JOIN LATERAL unnest(o.keys, o.records) WITH ORDINALITY AS r (key, record, place)
WHERE o.id = ANY(%s::bigint[]) AND (r.key IN (SELECT unnest(%s::bigint[]))) IS TRUE ORDER BY o.id, r.place
"""

# Of a row that holds a record without a key nobody can tell.
ACCEPTED = """
SELECT id FROM outbox
WHERE id = ANY(%s::bigint[]) AND NOT keys && %s::bigint[] AND array_position(keys, NULL) IS NULL
"""

# Losing this commit is harmless, so nobody waits for the disk; locked rows are being deleted by another.
DELETE = """
WITH nobody_waits AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
gone AS MATERIALIZED (SELECT id FROM outbox WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED)
DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM gone)) AND EXISTS (SELECT FROM nobody_waits)
"""


def insert(conn: Connection, records: Sequence[OutboxRecord], *, new_keys: bool = False) -> Callable[[], list[Row]]:
    """Store what is to be said now; read later: its row, if there is anything to be said.

    Called after the entities are locked: ids of one key are then drawn in commit order, and every older row of it
    is committed and seen here. `new_keys`: nothing was ever said of them, so nobody looks.
    """
    if not records:
        return list
    keys = [hashed_key(record.topic, record.key) for record in records]
    looked_for = [] if new_keys else [key for key in keys if key is not None]
    packed = bytes_array(dump_records(records))
    asked = conn.execute(INSERT, [int_array(looked_for), int_array(keys), packed])

    def rows() -> list[Row]:
        found = asked.fetchone()
        assert found is not None
        return [Row(found[0], records, found[1])]

    return rows


def records_of(rows: Iterable[Row]) -> list[OutboxRecord]:
    return [record for row in rows for record in row.records]


def lowest_rows(conn: Connection, up_to: int) -> list[Row]:
    """As many as have READ_BYTES_MAX bytes; one at least."""
    found = conn.execute(
        "SELECT id, records FROM ("
        " SELECT id, records, sum(pg_column_size(records)) OVER (ORDER BY id) - pg_column_size(records) AS before FROM ("
        "  SELECT id, records FROM outbox WHERE id <= %s ORDER BY id LIMIT 10000) AS lowest) AS o"
        " WHERE before < %s ORDER BY id",
        [up_to, READ_BYTES_MAX],
        binary=True,
    )
    return [Row(id_, [load_record(record) for record in records]) for id_, records in found.fetchall()]


class Publisher:
    """One producer and what it still owes. Used by one thread; callbacks run inside its own poll.

    Only failures are told of: whatever was handed over is acknowledged once the producer's queue is empty.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"  # of leases
        self.generation = 0  # callbacks of a thrown-away producer are not listened to
        self._producer = self._connect()
        self._queued: set[int] = set()  # rows handed over, not yet acknowledged or not yet deleted
        self._acknowledged: list[int] = []  # of these
        self._handed = self._answered = 0  # records that this producer was given; of these, answered for
        self._refused: list[KafkaMessage] = []
        self._failed: KafkaError | None = None
        self._healed_at = 0.0
        self._swept_at = self._waited_at = self._answered_at = time.monotonic()
        self.empty_at = time.monotonic()  # when the queue was last found so

    def _connect(self) -> Producer:
        return Producer(
            {
                **kafka_config(self._settings),
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # what the broker refuses lets nothing of its partition past
                # A broker that has just started knows no producer and takes any sequence as the first. With two requests on
                # their way it may refuse one, not being leader yet, and take the next: which librdkafka takes for both (seen).
                "max.in.flight": 1,
                "error_cb": self._on_error,
                "on_delivery": partial(self._on_undelivered, self.generation),
                "delivery.report.only.error": True,
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
        """Records that the broker has not answered for, as far as the last poll heard."""
        return len(self._producer)

    @property
    def idle(self) -> bool:
        """Nothing that we handed over waits to be acknowledged, or to be deleted."""
        return not self._queued and self._failed is None

    @property
    def _stuck(self) -> bool:
        """Our own deliveries make no progress: then the rows of others would only queue up behind them."""
        return self.unacknowledged > 0 and time.monotonic() - self._answered_at > STUCK_S

    @property
    def failing(self) -> str | None:
        return str(self._failed) if self._failed else None

    def publish(self, store: Store, rows: Iterable[Row]) -> None:
        """Hand rows to the producer, in order, leaving out what is in its queue already; before each, whatever is older
        of its keys. The store is between transactions. Never raises for it: what is not said now, `tidy` says."""
        self.poll()
        self._wait_if_busy()
        try:
            for row in rows:
                if self._failed is not None:
                    break
                if older := [row_id for row_id in row.older if row_id not in self._queued]:
                    self._publish_older(store, row, older)
                self._publish_row(row)
        except psycopg.Error as error:
            log.warning("left to the sweep", action="publish", error=str(error).strip()[:200])
        self.poll()

    def _wait_if_busy(self) -> None:
        """A queue that is never found empty would never be known to be acknowledged. The longer it is not, the longer we
        wait; not for a broker that is away."""
        now = time.monotonic()
        if self.unacknowledged and not self._stuck and now - max(self.empty_at, self._waited_at) > BUSY_S:
            self.flush(min(max(WAIT_S, (now - self.empty_at) / 5), WAIT_S_MAX))
            self._waited_at = time.monotonic()

    def _publish_row(self, row: Row) -> None:
        if row.id not in self._queued and all(self.produce(*record) for record in row.records):
            self._queued.add(row.id)

    def _publish_older(self, store: Store, row: Row, ids: Sequence[int]) -> None:
        """Of others, or our own that could not be said: the records of this row's keys. A row that holds more stays, for
        who says all of it."""
        keys = {(record.topic, record.key) for record in row.records}
        hashes = [hashed_key(topic, key) for topic, key in keys if key is not None]
        with store.transaction() as conn:
            found = conn.execute(OLDER, [int_array(ids), int_array(hashes)], binary=True).fetchall()
        for (older, holds), group in groupby(found, itemgetter(0, 1)):
            records = [load_record(record) for _, _, record in group]
            said = [record for record in records if (record.topic, record.key) in keys and self.produce(*record)]
            if len(said) == holds:
                self._queued.add(older)

    def produce(self, topic: str, key: bytes | None, headers: HeaderPairs, value: bytes | None) -> bool:
        """Into the producer's queue; waits where that is full. → False where the producer takes nothing any more."""
        while self._failed is None:
            try:
                self._producer.produce(self._prefix + topic, value, key, headers=cast(_Headers, headers))
                self._handed += 1
                return True
            except BufferError:
                self.poll(0.1)
            except KafkaException as error:
                self._fail(error.args[0])
        return False

    def _on_undelivered(self, generation: int, error: KafkaError | None, record: KafkaMessage) -> None:
        if generation == self.generation and error is not None:
            self._refused.append(record)
            self._fail(error)

    def _on_error(self, error: KafkaError) -> None:
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
        self._note_progress()

    def _note_progress(self) -> None:
        """A failure is in the queue until its callback has run, so an empty one has heard of all."""
        answered = self._handed - self.unacknowledged
        if answered != self._answered:
            self._answered, self._answered_at = answered, time.monotonic()
        if self._failed is None and not self.unacknowledged:
            self.empty_at = time.monotonic()
            self._acknowledged = list(self._queued)

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
        if not self._acknowledged:
            return
        with store.batch() as conn:
            conn.execute(DELETE, [int_array(self._acknowledged)])
        self._queued.difference_update(self._acknowledged)
        self._acknowledged = []

    def _heal(self, store: Store) -> None:
        """What went through is done; then a new producer, an empty queue, and everything still there again, lowest first."""
        self._healed_at = time.monotonic()
        self._producer.purge()
        self.flush(HEAL_EVERY_S)  # what was purged, or is refused by now, is told of
        if not self.unacknowledged:
            self._acknowledged = self._accepted(store)
            self._delete(store)
        self.generation += 1
        self._producer = self._connect()
        self._handed = self._answered = 0
        self._queued.clear()
        self._acknowledged = []
        self._refused.clear()
        self._failed = None
        with store.transaction() as conn:
            rows = lowest_rows(conn, 2**62)
        self.publish(store, rows)

    def _accepted(self, store: Store) -> list[int]:
        """Of the rows handed over, those that share no key with what was refused."""
        named = {((record.topic() or "")[len(self._prefix) :], record.key()) for record in self._refused}
        refused = [hashed_key(topic, key) for topic, key in named if isinstance(key, bytes)]
        with store.transaction() as conn:
            found = conn.execute(ACCEPTED, [int_array(self._queued), int_array(refused)]).fetchall()
        return [row_id for (row_id,) in found]

    def _sweep(self, store: Store) -> None:
        """Rows that lie here for longer than SWEEP_AFTER_S: of doors, callers and the dead. One process at a time."""
        with store.transaction() as conn:
            if not take_lease(conn, "sweep", self.holder, SWEEP_AFTER_S * 3):
                return
            # Ids are not drawn in the order of created_at: everything below the newest old row goes along.
            newest = conn.execute(
                "SELECT max(id) FROM outbox WHERE created_at < clock_timestamp() - make_interval(secs => %s)",
                [SWEEP_AFTER_S],
            ).fetchone()
            rows = lowest_rows(conn, newest[0]) if newest and newest[0] is not None else []
        self.publish(store, rows)

    def flush(self, timeout_s: float) -> None:
        try:
            self._producer.flush(timeout_s)
        except KafkaException as error:
            self._fail(error.args[0])
        self._note_progress()


def take_lease(conn: Connection, name: str, holder: str, for_s: float) -> bool:
    """Take or renew a lease of the room; the database's clock decides when it has run out."""
    taken = conn.execute(
        "INSERT INTO leases (name, holder, until) VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
        " WHERE leases.holder = excluded.holder OR leases.until < clock_timestamp() RETURNING 1",
        [name, holder, for_s],
    ).fetchone()
    return taken is not None
