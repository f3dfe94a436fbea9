"""Committed outbox rows → Kafka. Per topic and key, records first appear in commit order, whichever process dies."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
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

READ_BYTES_MAX = 16_000_000  # of the lowest rows, read at once to be published
SWEEP_AFTER_S = 5
HEAL_EVERY_S = 1
STUCK_S = 1.0  # without an acknowledgement
BUSY_S = 1.0  # without finding the queue empty
WAIT_S, WAIT_S_MAX = 0.2, 2.0  # for it to be empty

_Key = tuple[str, bytes | None]  # of a topic
_Headers = list[tuple[str, str | bytes | None]]  # the same type as confluent-kafka spells it


class OutboxRecord(NamedTuple):
    """A record to publish: the exact bytes, so that a repeat has the same hash."""

    topic: str
    key: bytes | None
    headers: HeaderPairs
    value: bytes | None


class Row(NamedTuple):
    """The records of one transaction, in order. One row for each record, found by its key, cost five times as much."""

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
    """Topic and key as a number. A collision only costs a needless look at a row. None for records without a key, which have
    no order."""
    return None if key is None else crc32(key, _seed(topic))


@cache
def _seed(topic: str) -> int:
    return crc32(topic.encode())


# One statement sees the table as it was before its own insert, so the rows that it finds for the same keys are older. It
# scans the table: a few rows of each process, until they are deleted. While the broker is away they are many, and small:
# with 20,000 of them a batch takes 4 to 18 ms more.
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

# IS TRUE makes it a probe of a hash of the keys for each record; as a join it would be a nested loop.
OLDER = """
SELECT o.id, cardinality(o.keys), r.record
FROM outbox o CROSS JOIN LATERAL unnest(o.keys, o.records) WITH ORDINALITY AS r (key, record, place)
WHERE o.id = ANY(%s::bigint[]) AND (r.key IN (SELECT unnest(%s::bigint[]))) IS TRUE ORDER BY o.id, r.place
"""

# A row with a record without a key is never known to be accepted.
ACCEPTED = """
SELECT id FROM outbox
WHERE id = ANY(%s::bigint[]) AND NOT keys && %s::bigint[] AND array_position(keys, NULL) IS NULL
"""

# Losing this commit is harmless, so it does not wait for the disk; another process is deleting locked rows.
DELETE = """
WITH commit_async AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
gone AS MATERIALIZED (SELECT id FROM outbox WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED)
DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM gone)) AND EXISTS (SELECT FROM commit_async)
"""


def insert(conn: Connection, records: Sequence[OutboxRecord], *, new_keys: bool = False) -> Callable[[], list[Row]]:
    """Store records as one outbox row. → reads the row, later; nothing if there are no records.

    Called after the entities are locked: the row ids of one key are then drawn in commit order, and all older rows of
    the key are committed and visible. `new_keys`: the keys have no older rows, so none are looked for.
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
    """The rows with the lowest ids, of READ_BYTES_MAX bytes together; at least one."""
    found = conn.execute(
        "SELECT id, records FROM ("
        " SELECT id, records, sum(pg_column_size(records)) OVER (ORDER BY id) - pg_column_size(records) AS before FROM ("
        "  SELECT id, records FROM outbox WHERE id <= %s ORDER BY id LIMIT 10000) AS lowest) AS o"
        " WHERE before < %s ORDER BY id",
        [up_to, READ_BYTES_MAX],
        binary=True,
    )
    return [Row(id_, [load_record(record) for record in records]) for id_, records in found.fetchall()]


def apart(rows: Iterable[Row], refused: Set[_Key]) -> tuple[list[Row], list[Row]]:
    """Rows, lowest first → those that need not wait for what was refused; those that hold it, or a later record of a key that
    one of these holds."""
    free, held, waiting = [], [], set(refused)
    for row in rows:
        keys = {(record.topic, record.key) for record in row.records}
        if keys.isdisjoint(waiting):
            free.append(row)
        else:
            held.append(row)
            waiting |= keys
    return free, held


class Publisher:
    """One Kafka producer, and the rows that it has not had acknowledged. Used by one thread; callbacks run within `poll`.

    Only failures have a callback: all records are acknowledged once the producer's queue is empty without one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"  # of leases
        self.generation = 0  # of the producer; callbacks of earlier ones are ignored
        self._producer = self._connect()
        self._queued: set[int] = set()  # rows given to the producer, not acknowledged or not deleted yet
        self._acknowledged: list[int] = []  # of these
        self._handed = self._answered = 0  # records given to this producer; of these, acknowledged or failed
        self._refused: list[KafkaMessage] = []
        self._failed: KafkaError | None = None
        self._healed_at = 0.0
        self._swept_at = self._waited_at = self._answered_at = time.monotonic()
        self.empty_at = time.monotonic()  # when the queue was last empty

    def _connect(self) -> Producer:
        return Producer(
            {
                **kafka_config(self._settings),
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # a refused record blocks the later ones of its partition
                # A broker that has just started accepts any sequence number as a producer's first. With two requests in
                # flight it may refuse one, not being leader yet, and accept the next: librdkafka counts both as sent (seen).
                "max.in.flight": 1,
                "error_cb": self._on_error,
                "on_delivery": partial(self._on_undelivered, self.generation),
                "delivery.report.only.error": True,
                "acks": "all",
                "linger.ms": 0.2,  # records of a small batch go together; a longer linger only waits
                "message.timeout.ms": 0,  # a time-out could leave a gap: records wait until the broker is back
                "queue.buffering.max.messages": 100_000,
                "partitioner": "murmur2_random",  # as Java's: other producers put a key on the same partition
                "message.max.bytes": 2_000_000,
                "topic.metadata.refresh.interval.ms": 60_000,
            }
        )

    @property
    def unacknowledged(self) -> int:
        """Records without acknowledgement or error, as of the last poll."""
        return len(self._producer)

    @property
    def idle(self) -> bool:
        """Whether all published rows are acknowledged and deleted."""
        return not self._queued and self._failed is None

    @property
    def _stuck(self) -> bool:
        """Whether our own deliveries make no progress: rows of other processes would only queue up behind them."""
        return self.unacknowledged > 0 and time.monotonic() - self._answered_at > STUCK_S

    @property
    def failing(self) -> str | None:
        return str(self._failed) if self._failed else None

    def publish(self, store: Store, rows: Iterable[Row]) -> None:
        """Give rows to the producer in order, without those in its queue already; before each row the older records of
        its keys. The store is between transactions. Raises nothing: `tidy` publishes later what failed now."""
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
        """Flush if the queue has not been empty for BUSY_S: only an empty queue is known to be acknowledged. The longer it has
        not been, the longer the flush; none while the broker is away."""
        now = time.monotonic()
        if self.unacknowledged and not self._stuck and now - max(self.empty_at, self._waited_at) > BUSY_S:
            self.flush(min(max(WAIT_S, (now - self.empty_at) / 5), WAIT_S_MAX))
            self._waited_at = time.monotonic()

    def _publish_row(self, row: Row) -> None:
        if row.id not in self._queued and all(self.produce(*record) for record in row.records):
            self._queued.add(row.id)

    def _publish_older(self, store: Store, row: Row, ids: Sequence[int]) -> None:
        """Publish the records of this row's keys from older rows, other processes' or our own unpublished ones. A row with
        more keys is not marked as queued: its own process, or a sweep, publishes all of it."""
        keys = {(record.topic, record.key) for record in row.records}
        hashes = [hashed_key(topic, key) for topic, key in keys if key is not None]
        with store.transaction() as conn:
            found = conn.execute(OLDER, [int_array(ids), int_array(hashes)], binary=True).fetchall()
        for (older, holds), group in groupby(found, itemgetter(0, 1)):
            records = [load_record(record) for _, _, record in group]
            produced = [record for record in records if (record.topic, record.key) in keys and self.produce(*record)]
            if len(produced) == holds:
                self._queued.add(older)

    def produce(self, topic: str, key: bytes | None, headers: HeaderPairs, value: bytes | None) -> bool:
        """Put a record into the producer's queue; waits while that is full. → False once the producer has failed."""
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
        """Only fatal errors matter: librdkafka recovers from others."""
        if error.fatal():
            self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        if self._failed is None:
            self._failed = error
            log.warning("delivery failed", action="publish", error=str(error))

    def poll(self, timeout_s: float = 0) -> None:
        """Run the callbacks. A producer with a fatal error raises from now on: `tidy` replaces it."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            self._fail(error.args[0])
        self._note_progress()

    def _note_progress(self) -> None:
        """Note acknowledgements. A failed record stays in the queue until its callback has run, so an empty queue has none."""
        answered = self._handed - self.unacknowledged
        if answered != self._answered:
            self._answered, self._answered_at = answered, time.monotonic()
        if self._failed is None and not self.unacknowledged:
            self.empty_at = time.monotonic()
            self._acknowledged = list(self._queued)

    def tidy(self, store: Store) -> None:
        """Delete acknowledged rows; after an error publish again from the lowest row; sweep rows that other processes left."""
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
        """Delete the accepted rows; then publish all remaining rows with a new producer, lowest first.

        A broker that has nothing of a producer takes any sequence number as its first. Of a batch that it refuses librdkafka
        still sends the next one, which would be taken: so nothing of its keys follows what was refused before that is
        acknowledged. What waits for none of it goes first: a record may be refused for days.
        """
        self._healed_at = time.monotonic()
        self._producer.purge()
        self.flush(HEAL_EVERY_S)  # runs the callbacks of purged and refused records
        if not self.unacknowledged:
            self._acknowledged = self._accepted(store)
            self._delete(store)
        refused = self._keys_refused()
        self.generation += 1
        self._producer = self._connect()
        self._handed = self._answered = 0
        self._queued.clear()
        self._acknowledged = []
        self._refused.clear()
        self._failed = None
        with store.transaction() as conn:
            rows = lowest_rows(conn, 2**62)
        free, held = apart(rows, set().union(*refused))
        self.publish(store, free)
        if held:
            self.flush(HEAL_EVERY_S)
            self._publish_warily(store, held, refused)

    def _publish_warily(self, store: Store, rows: Sequence[Row], refused: Sequence[Set[_Key]]) -> None:
        """Publish in order; of each partition in `refused` alone the first row that holds one of its keys, and on only once
        that is acknowledged. What is left waits for the next healing, or the sweep."""
        left, first = list(refused), 0
        for place, row in enumerate(rows):
            keys = {(record.topic, record.key) for record in row.records} if left else set()
            if all(keys.isdisjoint(partition) for partition in left):
                continue
            left = [partition for partition in left if keys.isdisjoint(partition)]
            self.publish(store, rows[first : place + 1])
            self.flush(HEAL_EVERY_S)
            if self._failed is not None or self.unacknowledged:
                return
            first = place + 1
        self.publish(store, rows[first:])

    def _keys_refused(self) -> list[set[_Key]]:
        """What the broker itself has refused: of each partition the keys. Others were only purged."""
        found: dict[tuple[str, int], set[_Key]] = defaultdict(set)
        for record in self._refused:
            error, topic = record.error(), record.topic() or ""
            if error is not None and error.code() > 0:
                key = record.key()
                named = (topic[len(self._prefix) :], key if isinstance(key, bytes) else None)
                found[topic, record.partition() or 0].add(named)
        return list(found.values())

    def _accepted(self, store: Store) -> list[int]:
        """The queued rows that share no key with a refused record."""
        named = {((record.topic() or "")[len(self._prefix) :], record.key()) for record in self._refused}
        refused = [hashed_key(topic, key) for topic, key in named if isinstance(key, bytes)]
        with store.transaction() as conn:
            found = conn.execute(ACCEPTED, [int_array(self._queued), int_array(refused)]).fetchall()
        return [row_id for (row_id,) in found]

    def _sweep(self, store: Store) -> None:
        """Publish rows older than SWEEP_AFTER_S, left by dead processes, doors or senders. One process at a time."""
        with store.transaction() as conn:
            if not take_lease(conn, "sweep", self.holder, SWEEP_AFTER_S * 3):
                return
            # Ids are not in the order of created_at: take every row below the newest old one.
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
        except SystemError:  # confluent-kafka's answer where the producer fails meanwhile; its callbacks have said why
            self.poll()
        self._note_progress()

    def give_up_leases(self, conn: Connection) -> None:
        """At a clean end, so that nobody waits for them to run out. Not while records are on their way: these must not
        land after those of the next holder."""
        if not self.unacknowledged:
            conn.execute("DELETE FROM leases WHERE holder = %s", [self.holder])


def take_lease(conn: Connection, name: str, holder: str, for_s: float) -> bool:
    """Take or renew a lease of the room; the database's clock decides when it has run out."""
    taken = conn.execute(
        "INSERT INTO leases (name, holder, until) VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
        " WHERE leases.holder = excluded.holder OR leases.until < clock_timestamp() RETURNING 1",
        [name, holder, for_s],
    ).fetchone()
    return taken is not None
